# SPDX-License-Identifier: BSD-3-Clause
"""A VM at a root is the NVMe device's host: it makes VFs, gives them queues, and uses them."""
import roots
import storage
from daemon import Daemon
from harness import eventually, log, shared, timeout
from qemu import VM
from roots import NATIVE_HOTPLUG, PF, SYSFS, vf_address
from storage import DRIVER, MIB, controller, disk, fio, nvme, status

TOTAL = 4
OFFLINE, ASSIGN, ONLINE = 7, 8, 9
VQ, VI = 0, 1
INVALID_STATE, TOO_MANY, NO_CONTROLLER = 0x120, 0x121, 0x11f


@shared
def hosts():
    """Two roots that share ssd0, with a PF each."""
    d = Daemon({"devices": {"ssd0": {
        "type": "nvme", "total-vfs": 2 * TOTAL, "namespace-pool": {"memory": "1G"},
        "namespaces": {1: {"memory": "64M", "attach": ["pf"]},
                       2: {"memory": "64M", "attach": ["vf0", "vf1"]}}}},
        "roots": {"host0": {"devices": ["ssd0"]}, "host1": {"devices": ["ssd0"]}}})
    vm = VM("host0", vfio_user=[d.sock("host0")], storage=True, extra=NATIVE_HOTPLUG, vcpus=2)
    other = VM("host1", vfio_user=[d.sock("host1")], storage=True, extra=NATIVE_HOTPLUG)
    vm.wait_ready()
    other.wait_ready()
    return d, vm, other


def pf_dev(vm):
    return "/dev/" + eventually(lambda: PF in storage.controllers(vm) and
                                storage.controllers(vm)[PF]["state"] == "live" and
                                storage.controllers(vm)[PF]["name"], 15, 0.2, "the PF is live")


def virt_mgmt(vm, pf, cntlid, action, resource=0, number=0):
    vm.sh("nvme virt-mgmt %s -c %d -a %d -r %d -n %d" % (pf, cntlid, action, resource, number))


def secondaries(vm, pf):
    """{CNTLID: (state, VF number, VQ, VI)}."""
    return {s["secondary-controller-identifier"]:
            (s["secondary-controller-state"], s["virtual-function-number"],
             s["num-virtual-queues"], s["num-virtual-interrupts"])
            for s in nvme(vm, "list-secondary", pf)["secondary-controllers"]}


def set_vfs(vm, count):
    """Without drivers: a VF that is offline cannot be started."""
    vm.sh("cd %s%s && echo 0 > sriov_drivers_autoprobe && echo %d > sriov_numvfs"
          % (SYSFS, PF, count))


def online(vm, pf, n, queues=3):
    """What an administrator does for the nth VF (from 0): five steps. Returns its CNTLID."""
    cntlid, address = n + 1, vf_address(n)
    virt_mgmt(vm, pf, cntlid, OFFLINE)
    virt_mgmt(vm, pf, cntlid, ASSIGN, VQ, queues)
    virt_mgmt(vm, pf, cntlid, ASSIGN, VI, queues)
    vm.sh("echo 1 > %s%s/reset" % (SYSFS, address))
    virt_mgmt(vm, pf, cntlid, ONLINE)
    return cntlid


def bind(vm, n):
    """Its driver; returns the controller's node."""
    vm.sh("echo nvme > %s%s/driver_override; echo %s > %sbind" % (SYSFS, vf_address(n),
                                                                 vf_address(n), DRIVER))
    return controller(vm, n + 1)[0]


def test_primary():
    _, vm, _ = hosts()
    pf = pf_dev(vm)
    ctrl = nvme(vm, "id-ctrl", pf)
    assert ctrl["oacs"] & 0x88 == 0x88, "namespace and virtualization management"
    assert ctrl["cntlid"] == 0 and ctrl["cmic"] & 6 == 2
    caps = nvme(vm, "primary-ctrl-caps", pf)
    assert caps["crt"] == 3 and caps["vqfrt"] and caps["vifrt"]
    assert caps["vqrfa"] == caps["virfa"] == 0 and caps["vqfrsm"] >= 3
    assert secondaries(vm, pf) == {n: (0, n, 0, 0) for n in range(1, TOTAL + 1)}
    fio(vm, disk(vm), rw="randwrite", size="8M", verify="crc32c")


@timeout(90)
def test_five_steps_to_a_disk():
    d, vm, _ = hosts()
    pf = pf_dev(vm)
    set_vfs(vm, 2)
    assert nvme(vm, "list-ns", pf)["nsid_list"] == [{"nsid": 1}]
    # In the wrong order, or too much: the standard's refusals.
    assert status(vm, "virt-mgmt", pf, "-c 1 -a 9") == INVALID_STATE
    assert status(vm, "virt-mgmt", pf, "-c 77 -a 8 -r 0 -n 2") == NO_CONTROLLER
    assert status(vm, "virt-mgmt", pf, "-c 1 -a 8 -r 0 -n 1000") == TOO_MANY
    assert status(vm, "virt-mgmt", pf, "-c 1 -a 3") == storage.INVALID_FIELD
    online(vm, pf, 0)
    assert secondaries(vm, pf)[1] == (1, 1, 3, 3)
    assert status(vm, "virt-mgmt", pf, "-c 1 -a 8 -r 0 -n 2") == INVALID_STATE
    caps = nvme(vm, "primary-ctrl-caps", pf)
    assert caps["vqrfa"] == caps["virfa"] == 3
    # It is a disk in this same VM.
    vf = bind(vm, 0)
    assert nvme(vm, "id-ctrl", vf)["cmic"] & 6 == 6
    assert len(vm.sh("ls %s%s/msi_irqs" % (SYSFS, vf_address(0))).split()) == 3
    dev = disk(vm, 2)
    storage.mkfs(vm, dev)
    fio(vm, "/mnt/f", rw="randwrite", bsrange="512-64k", size="16M", verify="crc32c")
    vm.sh("umount /mnt")
    storage.fsck(vm, dev)
    # Namespaces out of the pool, by stock commands; the VF has one at once, without a rescan.
    before = nvme(vm, "id-ctrl", pf)["unvmcap"]
    said = vm.sh("nvme create-ns %s -s %d -c %d -f 0 -m 1" % (pf, 64 * MIB // 512, 64 * MIB // 512))
    nsid = int(said.rsplit("nsid:", 1)[1].split()[0])
    assert int(before) - int(nvme(vm, "id-ctrl", pf)["unvmcap"]) == 64 * MIB
    vm.sh("nvme attach-ns %s -n %d -c 1" % (pf, nsid))
    new = disk(vm, nsid, size=64 * MIB)
    fio(vm, new, rw="randwrite", size="8M", verify="crc32c")
    assert status(vm, "attach-ns", pf, "-n %d -c 1" % nsid) == 0x118
    vm.sh("nvme detach-ns %s -n %d -c 1" % (pf, nsid))
    storage.no_disk(vm, nsid)
    assert status(vm, "detach-ns", pf, "-n %d -c 1" % nsid) == 0x11a
    vm.sh("nvme delete-ns %s -n %d" % (pf, nsid))
    assert nvme(vm, "id-ctrl", pf)["unvmcap"] == before
    # Offline with its driver at it: only this controller notices.
    virt_mgmt(vm, pf, 1, OFFLINE)
    assert secondaries(vm, pf)[1] == (0, 1, 0, 0)
    fio(vm, disk(vm, 1), rw="randwrite", size="4M", verify="crc32c")
    set_vfs(vm, 0)
    assert {f["kind"] for f in d.cli("show", "functions", "-j")} == {"pf"}


@timeout(120)
def test_numvfs_under_load():
    """One root makes and unmakes its VFs, resets its PF, while the other root's disk is at work."""
    d, vm, other = hosts()
    pf = pf_dev(vm)
    vm.sh("true")
    theirs = "/dev/" + eventually(lambda: [c["name"] for c in storage.controllers(other).values()
                                           if c["state"] == "live"], 15)[0]
    said = other.sh("nvme create-ns %s -s %d -c %d -f 0" % (theirs, 131072, 131072))
    nsid = int(said.rsplit("nsid:", 1)[1].split()[0])
    cntlid = nvme(other, "id-ctrl", theirs)["cntlid"]
    other.sh("nvme attach-ns %s -n %d -c %d" % (theirs, nsid, cntlid))
    job = storage.fio_start(other, disk(other, nsid), rw="randrw", bsrange="512-64k", size="48M",
                            verify="crc32c", time_based=1, runtime=20)
    for count in (TOTAL, 0, 2, 0, 1):
        set_vfs(vm, count)
        for n in range(min(count, 2)):
            online(vm, pf, n, 2)
            bind(vm, n)
        if count:
            fio(vm, disk(vm, 2), rw="randwrite", size="2M", verify="crc32c")
    # The primary's reset takes its secondaries offline, and nobody else's.
    vm.sh("nvme reset " + pf)
    assert {s[0] for s in secondaries(vm, pf_dev(vm)).values()} == {0}
    set_vfs(vm, 0)
    vm.sh("echo 1 > %s%s/reset" % (SYSFS, PF))
    pf_dev(vm)
    fio(vm, disk(vm), rw="randwrite", size="4M", verify="crc32c")
    log("numvfs was changed six times, the PF reset twice")
    storage.fio_result(job, 60)
    storage.messages(other)


@timeout(90)
def test_lend_a_vf():
    """A VF that the root's kernel has brought online is another VM's disk."""
    d, vm, _ = hosts()
    other = VM("borrower", storage=True)
    pf = pf_dev(vm)
    set_vfs(vm, 0)
    set_vfs(vm, 2)
    online(vm, pf, 1)
    other.device_add(d.sock("ssd0/vf1"), "lent")
    dev = disk(other, 2)
    fio(other, dev, rw="randwrite", size="8M", verify="crc32c")
    # Its neighbour comes and goes meanwhile.
    job = storage.fio_start(other, dev, rw="randwrite", size="16M", verify="crc32c", time_based=1,
                            runtime=6)
    online(vm, pf, 0)
    bind(vm, 0)
    fio(vm, disk(vm, 2), rw="randread", number_ios=200)
    virt_mgmt(vm, pf, 1, OFFLINE)
    storage.fio_result(job)
    other.kill9()
    roots.held_by_root(d, "ssd0/vf1", "host0")
    set_vfs(vm, 0)
