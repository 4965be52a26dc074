# SPDX-License-Identifier: BSD-3-Clause
#
# Draws what softiov-bench --scale --json NAME.json wrote beside it:
#
#   gnuplot -e "data='NAME.dat'; out='scale.svg'" bench/scale.gp
#
# Columns of data: VFs, workers, then median, least and most of each figure as its first line
# names them. Block 0 is one worker, block 1 two.
if (!exists("data")) data = "scale.dat"
if (!exists("out")) out = "scale.svg"

set terminal svg size 1000,760 font "sans-serif,13" background "white"
set output out
set multiplot layout 2,2
set logscale x 2
set xrange [0.8:320]
set xtics (1, 4, 16, 64, 255)
set yrange [0:*]
set grid ytics lc rgb "#dddddd"
set key below maxrows 2 samplen 2
set xlabel "VFs attached"
set style line 1 lc rgb "#1b6ca8" lw 1.5 pt 7 ps 0.6
set style line 2 lc rgb "#d1495b" lw 1.5 pt 5 ps 0.6
set style line 3 lc rgb "#1b6ca8" lw 1.5 dt 2 pt 6 ps 0.6
set style line 4 lc rgb "#d1495b" lw 1.5 dt 2 pt 4 ps 0.6

set title "Throughput, 64-byte frames"
set ylabel "Mpps"
plot data index 0 using 1:3:4:5 with yerrorlines ls 1 title "two send, 1 worker", \
     data index 0 using 1:6:7:8 with yerrorlines ls 2 title "all send, 1 worker", \
     data index 1 using 1:3:4:5 with yerrorlines ls 3 title "two send, 2 workers", \
     data index 1 using 1:6:7:8 with yerrorlines ls 4 title "all send, 2 workers"

set title "Workers' CPU time a frame, one worker"
set ylabel "ns"
plot data index 0 using 1:9:10:11 with yerrorlines ls 1 title "two send", \
     data index 0 using 1:12:13:14 with yerrorlines ls 2 title "all send"

set title "The daemon's own memory a VF"
set ylabel "KiB"
plot data index 0 using 1:15:16:17 with yerrorlines ls 1 title "not attached", \
     data index 0 using 1:($15+$18) with linespoints ls 2 title "attached"

set title "Times"
set ylabel "ms"
plot data index 0 using 1:21:22:23 with yerrorlines ls 1 title "start until ready", \
     data index 0 using 1:24:25:26 with yerrorlines ls 2 title "connect to first frame"
unset multiplot
