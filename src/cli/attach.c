/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * softiov attach-args: what a VMM needs to be told. The VM's memory must be shared with the
 * daemon, else every transfer is a message; that is why each text has a memory part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* An id made of the function's name: "nic0/vf3" gives "nic0-vf3". */
static void make_id(const char *name, char *id, size_t len)
{
	snprintf(id, len, "%s", name);
	for (char *p = id; *p; p++)
		if (*p == '/')
			*p = '-';
}

/* PCI Express slots of one VM need distinct numbers, and each call sees one function only: the
 * device gives the chassis, the VF's number the slot. */
static void slot_numbers(const char *name, unsigned *chassis, unsigned *slot)
{
	const char *digits = strstr(name, "/vf");
	unsigned hash = 0;

	for (const char *p = name; *p && *p != '/'; p++)
		hash = hash * 31 + (unsigned char)*p;
	*chassis = 1 + hash % 250;
	*slot = digits ? (unsigned)strtoul(digits + 3, NULL, 10) + 1 : 0;
}

static char *device_json(const char *id, const char *socket)
{
	json_t *o = json_pack("{s:s, s:{s:s, s:s}, s:s+}", "driver", "vfio-user-pci", "socket",
			      "type", "unix", "path", socket, "bus", "rp-", id);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

/* For a shell: '…', with every ' inside as '\'' */
static void put_quoted(const char *s, FILE *f)
{
	fputc('\'', f);
	for (; *s; s++) {
		if (*s == '\'')
			fputs("'\\''", f);
		else
			fputc(*s, f);
	}
	fputc('\'', f);
}

static bool shell_safe(const char *s)
{
	return !s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			    "/._-=,:+")];
}

static void put_word(const char *s, FILE *f)
{
	if (shell_safe(s))
		fputs(s, f);
	else
		put_quoted(s, f);
}

static void put_note(const char *name, const char *kind, FILE *f)
{
	if (!strcmp(kind, "root"))
		fprintf(f,
			"# %s: a PCIe hierarchy; Linux in the VM needs its vmd module (modprobe "
			"vmd)\n",
			name);
}

/* QEMU's q35 otherwise lets ACPI announce hot-plug, which knows nothing behind a root's endpoint,
 * and the guest's kernel then leaves the slots of PCIe alone. */
#define NATIVE_HOTPLUG "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"

char *attach_qemu(const char *name, const char *kind, const char *socket)
{
	char *text = NULL, *device, id[128];
	unsigned chassis, slot;
	size_t len;
	FILE *f;

	make_id(name, id, sizeof(id));
	slot_numbers(name, &chassis, &slot);
	device = device_json(id, socket);
	f = open_memstream(&text, &len);
	if (!f || !device) {
		free(device);
		return NULL;
	}
	fprintf(f, "# QEMU 10.1 or newer. size= must equal -m; -m and -machine once per VM\n");
	put_note(name, kind, f);
	if (!strcmp(kind, "root"))
		fputs("# -global: without it the guest's kernel does not see devices come and go "
		      "in the root\n"
		      "-global " NATIVE_HOTPLUG " \\\n",
		      f);
	fprintf(f,
		"-m 1G -object memory-backend-memfd,id=mem0,size=1G,share=on \\\n"
		"-machine q35,memory-backend=mem0 \\\n"
		"-device pcie-root-port,id=rp-%s,chassis=%u,slot=%u \\\n"
		"-device ",
		id, chassis, slot);
	put_quoted(device, f);
	fputc('\n', f);
	fclose(f);
	free(device);
	return text;
}

char *attach_cloud_hypervisor(const char *name, const char *kind, const char *socket)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "# cloud-hypervisor. For several functions: one --user-device, then socket=… "
		   "socket=…\n");
	put_note(name, kind, f);
	fprintf(f, "--memory size=1G,shared=on \\\n--user-device socket=");
	put_word(socket, f);
	fputc('\n', f);
	fclose(f);
	return text;
}

static void put_xml(const char *s, FILE *f)
{
	for (; *s; s++) {
		switch (*s) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '\'':
			fputs("&apos;", f);
			break;
		default:
			fputc(*s, f);
		}
	}
}

char *attach_libvirt(const char *name, const char *kind, const char *socket)
{
	char *text = NULL, *device, id[128];
	unsigned chassis, slot;
	size_t len;
	FILE *f;

	make_id(name, id, sizeof(id));
	slot_numbers(name, &chassis, &slot);
	device = device_json(id, socket);
	f = open_memstream(&text, &len);
	if (!f || !device) {
		free(device);
		return NULL;
	}
	fprintf(f,
		"<!-- %s: merge into `virsh edit`; the xmlns:qemu is needed. libvirt's QEMU (10.1 "
		"or newer) runs as\n"
		"     a user of its own: let it use the socket with socket: {group: …, mode: "
		"\"0660\"} in the configuration%s -->\n",
		name, strcmp(kind, "root") ? "" : ".\n     Linux in the VM needs its vmd module");
	fprintf(f,
		"<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
		"  <memoryBacking>\n"
		"    <source type='memfd'/>\n"
		"    <access mode='shared'/>\n"
		"  </memoryBacking>\n"
		"  <qemu:commandline>\n"
		"%s"
		"    <qemu:arg value='-device'/>\n"
		"    <qemu:arg value='pcie-root-port,id=rp-%s,chassis=%u,slot=%u'/>\n"
		"    <qemu:arg value='-device'/>\n"
		"    <qemu:arg value='",
		!strcmp(kind, "root") ? "    <!-- so that the guest's kernel sees devices come and "
					"go in the root -->\n"
					"    <qemu:arg value='-global'/>\n"
					"    <qemu:arg value='" NATIVE_HOTPLUG "'/>\n"
				      : "",
		id, chassis, slot);
	put_xml(device, f);
	fprintf(f, "'/>\n  </qemu:commandline>\n</domain>\n");
	fclose(f);
	free(device);
	return text;
}

static const struct {
	const char *vmm;
	char *(*text)(const char *name, const char *kind, const char *socket);
} vmms[] = {
	{"qemu", attach_qemu},
	{"cloud-hypervisor", attach_cloud_hypervisor},
	{"libvirt", attach_libvirt},
};

static int print_text(struct cli *cli, json_t *result, unsigned i)
{
	char *text = vmms[i].text(js(result, "name"), js(result, "kind"), js(result, "socket"));

	if (!text) {
		cli_error("out of memory");
		return CLI_FAILED;
	}
	if (cli->json) {
		json_object_set_new(result, "vmm", json_string(vmms[i].vmm));
		json_object_set_new(result, "text", json_string(text));
		cli_print_json(result);
	} else {
		fputs(text, stdout);
	}
	free(text);
	if (jb(result, "attached"))
		fprintf(stderr,
			"softiov: note: %s is held by a VM now; a second one is refused until it "
			"lets go\n",
			js(result, "name"));
	return CLI_OK;
}

int verb_attach_args(struct cli *cli, int argc, char **argv)
{
	const char *vmm = "qemu";
	json_t *result;
	unsigned i;
	int ret;

	if (cli_take(&argc, argv, "--vmm", &vmm, false) < 0)
		return CLI_USAGE;
	for (i = 0; i < 3 && strcmp(vmms[i].vmm, vmm); i++)
		;
	if (i == 3) {
		cli_error("--vmm %.40s: give qemu, cloud-hypervisor or libvirt", vmm);
		return CLI_USAGE;
	}
	ret = cli_call_verb(cli, argc, argv, &result);
	if (!ret)
		ret = print_text(cli, result, i);
	json_decref(result);
	return ret;
}
