/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/table.h"
#include "util/util.h"

#define SHM_LOW	  (1ull << 30)
#define FILES_LOW 4096 /* enough for some hundred functions */

void doctor_report(struct doctor *d, const char *what, enum finding finding, const char *remedy,
		   const char *fmt, ...)
{
	static const char *const names[] = {"OK", "WARN", "FAIL"};
	char text[512];
	va_list ap;
	json_t *o;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->warnings += finding == FINDING_WARN;
	d->failures += finding == FINDING_FAIL;
	o = json_pack("{s:s, s:s, s:s, s:s?}", "check", what, "finding", names[finding], "text",
		      text, "remedy", remedy);
	json_array_append_new(d->findings, o);
	if (d->cli->json)
		return;
	printf("%-4s  %-18s %s\n", names[finding], what, text);
	if (remedy && finding != FINDING_OK)
		printf("%*s-> %s\n", 25, "", remedy);
}

void doctor_kvm(struct doctor *d)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = -1, err;

	if (fd >= 0)
		vm = ioctl(fd, KVM_CREATE_VM, 0);
	err = errno;
	if (vm >= 0)
		doctor_report(d, "KVM", FINDING_OK, NULL, "a VM can be made");
	else if (fd >= 0)
		doctor_report(d, "KVM", FINDING_WARN,
			      "use QEMU with -accel tcg (slow), or allow nested virtualisation",
			      "/dev/kvm opens, but no VM can be made: %s", strerror(err));
	else if (err == EACCES)
		doctor_report(d, "KVM", FINDING_WARN,
			      "sudo usermod -aG kvm $USER, then log in again", "/dev/kvm: %s",
			      strerror(err));
	else
		doctor_report(d, "KVM", FINDING_WARN,
			      "enable virtualisation in the firmware (modprobe kvm_intel or "
			      "kvm_amd), or use QEMU with -accel tcg (slow)",
			      "/dev/kvm: %s", strerror(err));
	if (vm >= 0)
		close(vm);
	if (fd >= 0)
		close(fd);
}

static void check_memfd(struct doctor *d)
{
	int fd = memfd_create("softiov-doctor", MFD_CLOEXEC);
	void *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, PAGE_SIZE_4K))
		p = mmap(NULL, PAGE_SIZE_4K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		doctor_report(d, "shared memory", FINDING_OK, NULL, "memfd works");
	else
		doctor_report(d, "shared memory", FINDING_FAIL,
			      "a sandbox or seccomp filter forbids memfd_create: allow it",
			      "memfd: %s", strerror(errno));
	if (p != MAP_FAILED)
		munmap(p, PAGE_SIZE_4K);
	if (fd >= 0)
		close(fd);
}

void doctor_memory(struct doctor *d)
{
	struct statvfs st;
	char bytes[16];
	uint64_t avail;

	check_memfd(d);
	if (statvfs("/dev/shm", &st)) {
		doctor_report(d, "/dev/shm", FINDING_WARN,
			      "only matters for VMMs with file-backed memory there: mount -t tmpfs "
			      "tmpfs /dev/shm",
			      "%s", strerror(errno));
		return;
	}
	avail = (uint64_t)st.f_bavail * st.f_frsize;
	doctor_report(d, "/dev/shm", avail < SHM_LOW ? FINDING_WARN : FINDING_OK,
		      "use memfd memory in VMs, or: mount -o remount,size=50% /dev/shm", "%s free",
		      human_bytes(avail, bytes));
}

static bool has_net_admin(void)
{
	unsigned long long caps = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (f)
		fclose(f);
	return caps & BIT_ULL(CAP_NET_ADMIN);
}

void doctor_tap(struct doctor *d)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int err = errno;

	if (fd < 0) {
		doctor_report(d, "TAP uplinks", FINDING_WARN,
			      err == ENOENT ? "modprobe tun; uplink type user works without it"
					    : "give the user access to /dev/net/tun; uplink type "
					      "user works without it",
			      "/dev/net/tun: %s", strerror(err));
		return;
	}
	close(fd);
	if (has_net_admin())
		doctor_report(d, "TAP uplinks", FINDING_OK, NULL,
			      "can be made (this user has CAP_NET_ADMIN)");
	else
		doctor_report(d, "TAP uplinks", FINDING_WARN,
			      "make it beforehand: sudo ip tuntap add soft0 mode tap user $USER "
			      "(multi_queue for several queues); or use uplink type user",
			      "this user may use TAPs made for it, but not make one (no "
			      "CAP_NET_ADMIN)");
}

void doctor_files(struct doctor *d)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return;
	doctor_report(d, "open files", rl.rlim_max < FILES_LOW ? FINDING_WARN : FINDING_OK,
		      "raise the hard limit: LimitNOFILE= of the systemd unit, or "
		      "/etc/security/limits.conf",
		      "%lu allowed, about 12 are taken by each attached function with one queue "
		      "pair",
		      (unsigned long)rl.rlim_max);
}

void doctor_lspci(struct doctor *d)
{
	static const char *const ids[] = {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids"};
	char path[PATH_MAX];

	if (doctor_find("lspci", path, sizeof(path)))
		doctor_report(d, "lspci", FINDING_WARN, "apt install pciutils",
			      "not found: only softiov lspci's dumps need it");
	else if (access(ids[0], R_OK) && access(ids[1], R_OK))
		doctor_report(d, "lspci", FINDING_WARN, "apt install pci.ids",
			      "%s, but no pci.ids: names will be numbers", path);
	else
		doctor_report(d, "lspci", FINDING_OK, NULL, "%s", path);
}

int verb_doctor(struct cli *cli, int argc, char **argv)
{
	struct doctor d = {.cli = cli, .findings = json_array()};

	if (argc) {
		cli_error("doctor: takes no arguments");
		json_decref(d.findings);
		return CLI_USAGE;
	}
	doctor_vmms(&d);
	doctor_kvm(&d);
	doctor_memory(&d);
	doctor_tap(&d);
	doctor_uring(&d);
	doctor_memlock(&d);
	doctor_files(&d);
	doctor_lspci(&d);
	doctor_runtime_dir(&d);
	if (cli->json)
		cli_print_json(d.findings);
	else if (d.failures)
		printf("\n%u found that will stop it, %u to know about.\n", d.failures, d.warnings);
	else if (d.warnings)
		printf("\nNothing stops it; %u to know about.\n", d.warnings);
	else
		printf("\nAll is well.\n");
	json_decref(d.findings);
	return d.failures ? CLI_FAILED : CLI_OK;
}
