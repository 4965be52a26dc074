# SPDX-License-Identifier: BSD-3-Clause
"""Virtual machines: QEMU, its QMP and the agent inside the guest.

    vm = VM("a", vfio_user=[daemon.sock("nic0/vf0")])     # starts at once, boots meanwhile
    vm.sh("ip -br link")                                  # waits for the guest first

The guest is a stock Debian kernel upon an initramfs made by tools/vm-fetch.
"""
import base64
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import harness
from harness import SLOW, VMDIR, die_with_parent, log

BOOT_TIMEOUT = 60
SHELL_TIMEOUT = 60


class VMError(Exception):
    pass


class CommandFailed(AssertionError):
    """A guest command ended with another status than 0."""

    def __init__(self, vm, command, status, out, err):
        self.status, self.out, self.err = status, out, err
        super().__init__("%s: `%s` ended with %d\n%s%s" % (vm, command, status, out[-2000:],
                                                           err[-2000:]))


class Job:
    """A command in the guest, running or ended."""

    def __init__(self, agent, ident, command):
        self.agent, self.ident, self.command = agent, ident, command
        self.chunks = {"O": [], "E": []}
        self.status = None
        self.lost = None

    @property
    def done(self):
        return self.status is not None or self.lost is not None

    @property
    def out(self):
        return b"".join(self.chunks["O"]).decode(errors="replace")

    @property
    def err(self):
        return b"".join(self.chunks["E"]).decode(errors="replace")

    @property
    def raw(self):
        """Standard output as bytes."""
        return b"".join(self.chunks["O"])

    def wait(self, timeout=SHELL_TIMEOUT, check=True):
        """Wait for its end; return its standard output without the last newline."""
        with self.agent.cond:
            if not self.agent.cond.wait_for(lambda: self.done, timeout * SLOW):
                self.agent.send("K %d 9" % self.ident)
                raise TimeoutError("%s: `%s` not ended after %g s; so far:\n%s%s" % (
                    self.agent.name, self.command, timeout * SLOW, self.out[-2000:],
                    self.err[-2000:]))
        log("%s: [%s] %.400r" % (self.agent.name, self.status, self.out + self.err))
        if self.lost:
            raise VMError("%s: `%s`: %s" % (self.agent.name, self.command, self.lost))
        if check and self.status:
            raise CommandFailed(self.agent.name, self.command, self.status, self.out, self.err)
        return self.out.rstrip("\n")

    def kill(self, sig=signal.SIGTERM):
        """Signal the command's process group."""
        self.agent.send("K %d %d" % (self.ident, sig))


class Agent:
    """Our end of the line to tests/vm/guest/agent.c."""

    def __init__(self, name, sock):
        self.name, self.sock = name, sock
        self.cond = threading.Condition()
        self.jobs, self.next, self.boot, self.closed = {}, 1, None, False
        self.writing = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, text):
        # The newline in front ends whatever a rebooting guest made of earlier bytes.
        try:
            with self.writing:
                self.sock.sendall(b"\n" + text.encode() + b"\n")
        except OSError:
            pass

    def run(self, command):
        with self.cond:
            if self.closed:
                raise VMError(self.name + ": QEMU has ended")
            job = Job(self, self.next, command)
            self.jobs[job.ident] = job
            self.next += 1
        self.send("R %d %s" % (job.ident, base64.b64encode(command.encode()).decode()))
        return job

    def wait_boot(self, other_than, timeout):
        """Wait until a guest answers whose boot id is not `other_than`."""
        end = time.monotonic() + timeout
        with self.cond:
            while not self.boot or self.boot == other_than:
                if self.closed:
                    raise VMError(self.name + ": QEMU has ended")
                if time.monotonic() > end:
                    raise TimeoutError("%s: no agent after %g s" % (self.name, timeout))
                self.cond.wait(1)
                if not self.boot:
                    # The greeting may have got lost; ask.
                    self.send("P 0")

    def _lose(self, why):
        for job in self.jobs.values():
            if not job.done:
                job.lost = why
        self.jobs.clear()

    def _line(self, line):
        kind, _, rest = line.partition(b" ")
        with self.cond:
            if kind == b"H":
                self.boot = rest.decode(errors="replace")
                self._lose("the guest rebooted")
            elif kind == b"A":
                self.boot = self.boot or rest.split()[1].decode()
            elif kind in (b"O", b"E", b"X"):
                ident, _, data = rest.partition(b" ")
                job = self.jobs.get(int(ident))
                if not job:
                    return
                if kind == b"X":
                    job.status = int(data)
                    del self.jobs[job.ident]
                else:
                    job.chunks[kind.decode()].append(base64.b64decode(data))
            self.cond.notify_all()

    def _read(self):
        have = b""
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            *lines, have = (have + data).split(b"\n")
            for line in lines:
                try:
                    self._line(line.strip(b"\r\0"))
                except (ValueError, IndexError):
                    log(self.name, "odd line from the agent:", line[:200])
        with self.cond:
            self.closed = True
            self._lose("QEMU has ended")
            self.cond.notify_all()


class QMP:
    """QEMU's control protocol. Events are kept until someone waits for them."""

    def __init__(self, name, sock):
        self.name, self.sock = name, sock
        self.cond = threading.Condition()
        self.replies, self.events, self.next, self.closed = {}, [], 1, False
        threading.Thread(target=self._read, daemon=True).start()
        self.command("qmp_capabilities")

    def command(self, execute, timeout=30, **arguments):
        with self.cond:
            ident, self.next = self.next, self.next + 1
        text = {"execute": execute, "id": ident}
        if arguments:
            text["arguments"] = arguments
        try:
            self.sock.sendall(json.dumps(text).encode() + b"\n")
        except OSError as e:
            raise VMError("%s: QMP %s: %s" % (self.name, execute, e)) from e
        with self.cond:
            if not self.cond.wait_for(lambda: ident in self.replies or self.closed,
                                      timeout * SLOW):
                raise TimeoutError("%s: QMP %s not answered" % (self.name, execute))
            reply = self.replies.pop(ident, {"error": {"desc": "QEMU has ended"}})
        if "error" in reply:
            raise VMError("%s: QMP %s: %s" % (self.name, execute, reply["error"]["desc"]))
        return reply["return"]

    def wait_event(self, name, match=lambda data: True, timeout=30):
        """Take and return the data of the first such event, past ones included."""
        def find():
            for e in self.events:
                if e["event"] == name and match(e.get("data", {})):
                    self.events.remove(e)
                    return e
            return None
        with self.cond:
            box = []
            if not self.cond.wait_for(lambda: box.append(find()) or box[-1] or self.closed,
                                      timeout * SLOW) or not box[-1]:
                raise TimeoutError("%s: no QMP event %s" % (self.name, name))
            return box[-1].get("data", {})

    def _read(self):
        have = b""
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            *lines, have = (have + data).split(b"\n")
            for line in lines:
                msg = json.loads(line)
                with self.cond:
                    if "id" in msg:
                        self.replies[msg["id"]] = msg
                    elif "event" in msg:
                        self.events.append(msg)
                    self.cond.notify_all()
        with self.cond:
            self.closed = True
            self.cond.notify_all()


def accelerator():
    """ "kvm" if a guest of ours really comes up under it, else "tcg". Tried once, then cached."""
    forced = os.environ.get("SOFTIOV_ACCEL")
    if forced:
        return forced
    if not os.path.exists(VMDIR + "/initramfs.cpio"):
        raise VMError("no guest in %s: run tools/vm-fetch" % VMDIR)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with open("/proc/sys/kernel/random/boot_id") as f:
        key = f.read().strip() + " %d" % os.stat(VMDIR + "/initramfs.cpio").st_mtime
    cache = os.path.join(VMDIR, "accel")
    try:
        with open(cache) as f:
            known, accel = f.read().split("\n")[:2]
        if known == key:
            return accel
    except (OSError, ValueError):
        pass
    accel = "kvm" if kvm_works() else "tcg"
    log("accelerator:", accel)
    with open(cache + ".%d" % os.getpid(), "w") as f:
        f.write("%s\n%s\n" % (key, accel))
    os.rename(cache + ".%d" % os.getpid(), cache)
    return accel


def kvm_works(patience=15):
    """Boot the real guest: /dev/kvm may open, and even start, where nested guests do not run."""
    with tempfile.TemporaryDirectory() as tmp:
        con = os.path.join(tmp, "console")
        with open(os.path.join(tmp, "err"), "w+") as err:
            with subprocess.Popen(
                    [VMDIR + "/qemu", "-accel", "kvm", "-cpu", "host", "-M", "q35", "-m", "256M",
                     "-nodefaults", "-no-user-config", "-display", "none", "-serial", "file:" + con,
                     "-kernel", VMDIR + "/vmlinuz", "-initrd", VMDIR + "/initramfs.cpio",
                     "-append", "console=ttyS0 quiet"], stdin=subprocess.DEVNULL, stdout=err,
                    stderr=err, preexec_fn=die_with_parent) as p:
                end = time.monotonic() + patience
                good = False
                while not good and time.monotonic() < end and p.poll() is None:
                    time.sleep(0.1)
                    err.seek(0)
                    if "internal error" in err.read():
                        break
                    if os.path.exists(con):
                        with open(con, errors="replace") as f:
                            good = "guest ready" in f.read()
                p.kill()
        return good


@functools.lru_cache(None)
def fetch_storage():
    subprocess.run([harness.TOP + "/tools/vm-fetch", "--storage"], check=True,
                   stdin=subprocess.DEVNULL)


def fetched(name):
    """The path of what tools/vm-fetch --storage makes; fetched when first asked for."""
    fetch_storage()
    return os.path.join(VMDIR, name)


def storage_initramfs():
    """The initramfs with fio and nvme-cli behind it."""
    path = fetched("initramfs-storage.cpio")
    parts = [os.path.join(VMDIR, p) for p in ("initramfs.cpio", "storage.cpio")]
    if not os.path.exists(path) or os.stat(path).st_mtime < max(os.stat(p).st_mtime for p in parts):
        new = "%s.%d" % (path, os.getpid())        # another test file may be at it, too
        with open(new, "wb") as out:
            for p in parts:
                with open(p, "rb") as f:
                    shutil.copyfileobj(f, out)
        os.rename(new, path)
    return path


class VM:
    """A QEMU that starts at once; the first sh() (or wait_ready) waits for its guest.

    name         for logs, and the guest's hostname
    vcpus, mem   mem as QEMU writes it ("256M", the default; with storage "512M")
    vfio_user    vfio-user sockets: paths, or dicts with "socket" and more properties of
                 vfio-user-pci ("id", "x-msg-timeout" ...). Number n gets the id "vu<n>" and
                 sits alone behind the hot-pluggable root port "rp<n>"
    share        guest memory is a memfd that can be mapped by others; False: memory without fd
    spare        more root ports, empty, for device_add
    port         properties of every root port ("pref64-reserve=1G")
    user_net     a virtio-net of QEMU's own with its user-mode network (id "unet")
    storage      fio and nvme-cli in the guest
    extra        more QEMU arguments
    kernel_args  more of the kernel's command line; "softiov.skip=virtio_net,vmd" leaves modules out
    firmware     "bios" or "uefi": QEMU loads no kernel, the firmware boots from a disk that it finds
    """

    def __init__(self, name, vcpus=1, mem=None, vfio_user=(), share=True, spare=2, port="",
                 user_net=False, storage=False, extra=(), kernel_args="", firmware=None):
        self.name = name
        self.scope = harness.scope()
        self.dead = False
        if not os.path.exists(VMDIR + "/qemu"):
            raise VMError("no %s/qemu: run tools/vm-fetch" % VMDIR)
        devices = [dict(d) if isinstance(d, dict) else {"socket": d} for d in vfio_user]
        self.console = self.scope.logfile(name + ".console.log")
        self.errors = self.scope.logfile(name + ".qemu.log")
        self.ports = len(devices) + spare + (1 if user_net else 0)
        self.taken = {}
        mem = mem or ("512M" if storage else "256M")
        args = self.base(vcpus, mem, share) + self.firmware(firmware) if firmware else \
            self.machine(vcpus, mem, share, storage, kernel_args)
        for n in range(self.ports):
            args += ["-device", "pcie-root-port,id=rp%d,bus=pcie.0,chassis=%d,slot=%d,io-reserve=0%s"
                     % (n, n + 1, n + 1, "," + port if port else "")]
        for n, d in enumerate(devices):
            args += ["-device", json.dumps(self.vfio_user_device(d, "vu%d" % n, "rp%d" % n))]
        if user_net:
            bus = self.free_port()
            self.taken[bus] = "unet"
            args += ["-netdev", "user,id=usernet", "-device",
                     "virtio-net-pci,netdev=usernet,id=unet,bus=%s,romfile=" % bus]
        agent, theirs = socket.socketpair()
        qmp, qtheirs = socket.socketpair()
        args += ["-chardev", "file,id=console,path=%s" % self.console, "-serial", "chardev:console",
                 "-chardev", "socket,id=agent,fd=%d" % theirs.fileno(), "-serial", "chardev:agent",
                 "-chardev", "socket,id=qmp,fd=%d" % qtheirs.fileno(),
                 "-qmp", "chardev:qmp"]
        args += list(extra)
        log("%s: %s" % (name, " ".join(args)))
        with open(self.errors, "w") as err:
            self.proc = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                         pass_fds=(theirs.fileno(), qtheirs.fileno()),
                                         preexec_fn=die_with_parent)
        theirs.close()
        qtheirs.close()
        self.agent = Agent(name, agent)
        try:
            self.monitor = QMP(name, qmp)
            self.scope.add(self)
        except (VMError, TimeoutError) as e:
            self.proc.kill()
            self.proc.wait()
            raise VMError("%s: QEMU did not start:\n%s" % (name, self.qemu_log()[-3000:])) from e

    @staticmethod
    def base(vcpus, mem, share):
        """QEMU's arguments for processor and memory."""
        accel = accelerator()
        backend = "memory-backend-memfd,id=mem,size=%s,share=on" if share else \
            "memory-backend-ram,id=mem,size=%s"
        args = [VMDIR + "/qemu", "-nodefaults", "-no-user-config", "-display", "none",
                "-M", "q35,memory-backend=mem", "-object", backend % mem, "-m", mem,
                "-smp", str(vcpus)]
        if accel == "kvm":
            return args + ["-accel", "kvm", "-cpu", "host"]
        # More than a plain processor model only costs time when it is emulated.
        return args + ["-accel", "tcg,thread=multi,tb-size=256",
                       "-cpu", "qemu64,+x2apic,+ssse3,+sse4.1,+sse4.2,+popcnt"]

    def machine(self, vcpus, mem, share, storage, kernel_args):
        args = self.base(vcpus, mem, share)
        initrd = storage_initramfs() if storage else VMDIR + "/initramfs.cpio"
        return args + ["-kernel", VMDIR + "/vmlinuz", "-initrd", initrd, "-append",
                       "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check "
                       "cryptomgr.notests softiov.name=%s %s" % (self.name, kernel_args)]

    def firmware(self, kind):
        """QEMU's arguments for a machine that boots by itself."""
        if kind == "bios":
            return []
        code = fetched("OVMF_CODE_4M.fd")
        variables = self.scope.logfile(self.name + ".OVMF_VARS.fd")
        shutil.copyfile(os.path.join(VMDIR, "OVMF_VARS_4M.fd"), variables)
        return ["-drive", "if=pflash,format=raw,readonly=on,file=" + code,
                "-drive", "if=pflash,format=raw,file=" + variables]

    def vfio_user_device(self, props, ident, bus):
        props = dict(props)
        path = props.pop("socket")
        if not isinstance(path, dict):
            path = {"type": "unix", "path": str(path)}
        dev = {"driver": "vfio-user-pci", "id": ident, "bus": bus, "socket": path}
        dev.update(props)
        self.taken[dev["bus"]] = dev["id"]
        return dev

    def free_port(self):
        for n in range(self.ports):
            if "rp%d" % n not in self.taken:
                return "rp%d" % n
        raise VMError(self.name + ": no free root port (spare=)")

    # ---- the guest ----

    def wait_ready(self, timeout=BOOT_TIMEOUT):
        try:
            self.agent.wait_boot(None, timeout * SLOW)
        except (VMError, TimeoutError) as e:
            raise VMError("%s: the guest is not up: %s\n--- QEMU:\n%s\n--- console:\n%s" % (
                self.name, e, self.qemu_log()[-2000:], self.console_log()[-2000:])) from e
        return self

    def sh(self, command, timeout=SHELL_TIMEOUT, check=True):
        """Run under sh in the guest; return its standard output less the last newline.

        CommandFailed (an AssertionError) unless it ends with 0 or check is false.
        """
        return self.spawn(command).wait(timeout, check)

    def status(self, command, timeout=SHELL_TIMEOUT):
        """Run under sh in the guest; return the exit status."""
        job = self.spawn(command)
        job.wait(timeout, check=False)
        return job.status

    def spawn(self, command):
        """Start a command in the guest, return its Job (wait, kill, done, out, err, status)."""
        self.wait_ready()
        log("%s$ %s" % (self.name, command))
        return self.agent.run(command)

    def put(self, path, data, mode=0o644):
        """Write a file in the guest."""
        if isinstance(data, str):
            data = data.encode()
        self.sh(": > '%s' && chmod %o '%s'" % (path, mode, path))
        for i in range(0, len(data), 48000):
            text = base64.b64encode(data[i:i + 48000]).decode()
            self.sh("base64 -d >> '%s' <<'EOF'\n%s\nEOF\n" % (path, text))

    def get(self, path):
        """A guest file's content, as bytes."""
        job = self.spawn("cat '%s'" % path)
        job.wait()
        return job.raw

    def netdevs(self):
        """{interface: {"mac", "driver", "pci"}} of the guest's PCI network devices."""
        text = self.sh("for i in /sys/class/net/*; do [ -e $i/device ] || continue; "
                       "d=$(readlink -f $i/device); while ! [ -e $d/vendor -a -e $d/config ]; "
                       "do d=${d%/*}; [ -n \"$d\" ] || break; done; "
                       "echo ${i##*/} $(cat $i/address) ${d##*/} "
                       "$(basename $(readlink $i/device/driver)); done")
        out = {}
        for line in text.splitlines():
            name, mac, pci, *driver = line.split()
            out[name] = {"mac": mac, "pci": pci, "driver": driver[0] if driver else None}
        return out

    def netdev(self, mac, timeout=15):
        """The name of the interface with this MAC; waits for it to appear."""
        def find():
            for name, d in self.netdevs().items():
                if d["mac"] == mac.lower():
                    return name
            return None
        return harness.eventually(find, timeout, 0.3, "%s: an interface with %s" % (self.name, mac))

    def reboot(self, timeout=BOOT_TIMEOUT):
        """The guest's own `reboot -f`; returns when its agent is back."""
        self.wait_ready()
        old = self.agent.boot
        self.agent.run("busybox reboot -f")
        self.agent.wait_boot(old, timeout * SLOW)

    def reset(self, timeout=BOOT_TIMEOUT):
        """QMP system_reset; returns when the agent is back."""
        self.wait_ready()
        old = self.agent.boot
        self.qmp("system_reset")
        self.agent.wait_boot(old, timeout * SLOW)

    # ---- QEMU ----

    def qmp(self, execute, timeout=30, **arguments):
        """A QMP command with its arguments; returns what it returns, VMError if it fails."""
        return self.monitor.command(execute, timeout, **arguments)

    def device_add(self, sock, ident=None, bus=None, **props):
        """Hot-plug a vfio-user socket; returns the device's id."""
        bus = bus or self.free_port()
        ident = ident or "hot-" + bus
        dev = self.vfio_user_device(dict(props, socket=sock), ident, bus)
        try:
            self.qmp("device_add", **dev)
        except VMError:
            self.taken.pop(bus, None)
            raise
        return ident

    def device_del(self, ident, timeout=30):
        """Hot-unplug and wait until the guest has let go and the device is gone.

        False if QEMU ended by a fault of its own once that was done: up to 11.1 it takes a region
        of a vfio-user device apart twice.
        """
        self.qmp("device_del", id=ident)
        try:
            self.monitor.wait_event("DEVICE_DELETED", lambda d: d.get("device") == ident, timeout)
        except TimeoutError:
            # Its sockets are closed a little before it is gone.
            if self.monitor.closed:
                self.proc.wait(10 * SLOW)
            if self.alive() or "memory_region_del_subregion" not in self.qemu_log():
                raise
            log("%s: QEMU ended upon device_del" % self.name)
            self.dead = True
            return False
        for bus, dev in list(self.taken.items()):
            if dev == ident:
                del self.taken[bus]
        return True

    def alive(self):
        return self.proc.poll() is None

    def fault(self):
        if not self.dead and not self.alive():
            return "%s: QEMU ended by itself (%s):\n%s" % (self.name, self.proc.returncode,
                                                           self.qemu_log()[-2000:])
        return None

    def __repr__(self):
        return "VM(%s)" % self.name

    def kill9(self):
        """End QEMU as a crash would."""
        self.dead = True
        self.proc.kill()
        self.proc.wait()

    def close(self):
        """End QEMU. Raises if it had ended by itself before."""
        self.scope.remove(self)
        fault = self.fault()
        self.dead = True
        if self.alive():
            try:
                self.monitor.command("quit", timeout=3)
                self.proc.wait(5)
            except (VMError, TimeoutError, subprocess.TimeoutExpired):
                self.proc.kill()
                self.proc.wait()
        for s in (self.agent.sock, self.monitor.sock):
            s.close()
        if fault:
            raise VMError(fault)

    def qemu_log(self):
        with open(self.errors, errors="replace") as f:
            return f.read()

    def console_log(self):
        try:
            with open(self.console, errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if not self.dead:
            self.close()
