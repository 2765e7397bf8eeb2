/*
 * limit: what it costs to start a container when only the system calls that cannot be left out are made.
 *
 * For each of N containers: directories of an overlay (upper on disk, volatile), one cgroup or several, clone3 into new pid, mount,
 * net, ipc, uts and cgroup namespaces, a veth into a bridge with an address and a default route, the mounts an OCI runtime makes,
 * pivot_root, capabilities, a system call filter, execve. The time is taken from the first of these calls until the kernel closes
 * a close-on-exec pipe: the program has been executed. One number a line, in microseconds, goes to standard output.
 *
 * usage: limit -n N -l LOWERDIR -s STATEDIR [-p PAUSE_MS] [-b BRIDGE -a FIRST_ADDRESS/BITS -g GATEWAY] [-2 CGROUP2]
 *        [-1 CGROUP1]... [-w FILE=VALUE]... [-k] -- PROGRAM ARG...
 *   -b   make veths into this bridge (it must exist); without it there is only a loopback
 *   -2   one cgroup v2 below this one for each container, entered by clone;  -1  the same for v1, entered by the child
 *   -w   write VALUE to FILE in each cgroup made, where it has such a file
 *   -k   keep them all running until the last has started; print "total US" and, after their removal, "removed US"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAXCG 12

static struct {
	int count, pause_ms, keep, bits, bridge_index;
	const char *lower, *state, *bridge, *cgroup2, *cgroup1[MAXCG], *writes[MAXCG];
	int ncgroup1, nwrites;
	uint32_t address, gateway;
	char **argv;
} opt = { .count = 100, .bits = 16 };

struct container {
	pid_t pid;
	int pidfd;
	char dir[PATH_MAX / 4], merged[PATH_MAX / 2], overlay[PATH_MAX * 2];
	char group[MAXCG + 1][PATH_MAX];
	int groups; /* group[0] is the v2 one when there is one */
};

static void stop(const char *what)
{
	fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static double micros(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void put(const char *dir, const char *file, const char *value)
{
	char path[PATH_MAX + 256];
	snprintf(path, sizeof path, "%s/%s", dir, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		stop(path);
	close(fd);
}

/* ---- netlink ---- */

struct message {
	struct nlmsghdr head;
	char room[1024];
};

static void start_message(struct message *m, int type, int flags, const void *body, size_t size)
{
	memset(m, 0, sizeof *m);
	m->head.nlmsg_len = NLMSG_LENGTH(size);
	m->head.nlmsg_type = (uint16_t)type;
	m->head.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	memcpy(NLMSG_DATA(&m->head), body, size);
}

static struct rtattr *add(struct message *m, int type, const void *data, size_t size)
{
	struct rtattr *a = (struct rtattr *)((char *)m + NLMSG_ALIGN(m->head.nlmsg_len));
	a->rta_type = (uint16_t)type;
	a->rta_len = (uint16_t)RTA_LENGTH(size);
	if (size > 0)
		memcpy(RTA_DATA(a), data, size);
	m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void finish(struct message *m, struct rtattr *nest)
{
	nest->rta_len = (uint16_t)((char *)m + NLMSG_ALIGN(m->head.nlmsg_len) - (char *)nest);
}

static void ask(int sock, struct message *m, const char *what)
{
	char answer[4096];
	if (send(sock, m, m->head.nlmsg_len, 0) < 0 || recv(sock, answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		stop(what);
	struct nlmsgerr *e = NLMSG_DATA((struct nlmsghdr *)answer);
	if (e->error != 0) {
		errno = -e->error;
		stop(what);
	}
}

static int route_socket(void)
{
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (s < 0)
		stop("netlink socket");
	return s;
}

/* A pair: vNAME in the bridge, eth0 in the child's namespace. */
static void make_veth(int sock, int number, pid_t child)
{
	struct message m;
	struct ifinfomsg up = { .ifi_flags = IFF_UP, .ifi_change = IFF_UP }, plain = { 0 };
	char name[IFNAMSIZ];
	uint32_t pid = (uint32_t)child;
	snprintf(name, sizeof name, "lm%05x-%05x", (unsigned)getpid() & 0xfffff, (unsigned)number & 0xfffff);
	start_message(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &up, sizeof up);
	add(&m, IFLA_IFNAME, name, strlen(name) + 1);
	add(&m, IFLA_MASTER, &opt.bridge_index, sizeof opt.bridge_index);
	struct rtattr *info = add(&m, IFLA_LINKINFO, NULL, 0);
	add(&m, IFLA_INFO_KIND, "veth", 4);
	struct rtattr *data = add(&m, IFLA_INFO_DATA, NULL, 0);
	struct rtattr *peer = add(&m, VETH_INFO_PEER, &plain, sizeof plain);
	add(&m, IFLA_IFNAME, "eth0", 5);
	add(&m, IFLA_NET_NS_PID, &pid, sizeof pid);
	finish(&m, peer);
	finish(&m, data);
	finish(&m, info);
	ask(sock, &m, "make a veth");
}

static void raise_link(int sock, int index)
{
	struct message m;
	struct ifinfomsg up = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
	start_message(&m, RTM_NEWLINK, 0, &up, sizeof up);
	ask(sock, &m, "raise a link");
}

/* Inside: loopback, and with a bridge the address and the default route. */
static void configure_network(int number)
{
	int sock = route_socket();
	raise_link(sock, 1);
	if (opt.bridge) {
		struct message m;
		int index = (int)if_nametoindex("eth0");
		uint32_t address = htonl(opt.address + (uint32_t)number), gateway = htonl(opt.gateway);
		struct ifaddrmsg a = { .ifa_family = AF_INET, .ifa_prefixlen = (uint8_t)opt.bits, .ifa_index = (unsigned)index };
		start_message(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &a, sizeof a);
		add(&m, IFA_LOCAL, &address, 4);
		add(&m, IFA_ADDRESS, &address, 4);
		ask(sock, &m, "add an address");
		raise_link(sock, index);
		struct rtmsg r = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST };
		start_message(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &r, sizeof r);
		add(&m, RTA_GATEWAY, &gateway, 4);
		ask(sock, &m, "add a route");
	}
	close(sock);
}

/* ---- the child ---- */

static void mount_or_stop(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	if (mount(source, target, type, flags, data) != 0)
		stop(target);
}

static void make_devices(void)
{
	static const struct { const char *path; unsigned major, minor; } nodes[] = {
		{ "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 }, { "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
	};
	static const char *links[][2] = {
		{ "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
		{ "/proc/self/fd/2", "dev/stderr" }, { "pts/ptmx", "dev/ptmx" },
	};
	mount_or_stop("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k");
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) != 0)
			stop(nodes[i].path);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		if (symlink(links[i][0], links[i][1]) != 0)
			stop(links[i][1]);
	mkdir("dev/pts", 0755);
	mkdir("dev/shm", 01777);
	mkdir("dev/mqueue", 0755);
	mount_or_stop("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
	mount_or_stop("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
	mount_or_stop("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
}

static void hide(void)
{
	static const char *files[] = { "proc/kcore", "proc/keys", "proc/timer_list", "proc/sched_debug" };
	static const char *dirs[] = { "proc/acpi", "proc/scsi", "sys/firmware" };
	static const char *fixed[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
	const unsigned long ro = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		if (mount("dev/null", files[i], NULL, MS_BIND, NULL) != 0 && errno != ENOENT)
			stop(files[i]);
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
		if (mount("tmpfs", dirs[i], "tmpfs", MS_RDONLY, "size=0k") != 0 && errno != ENOENT)
			stop(dirs[i]);
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
		if (mount(fixed[i], fixed[i], NULL, MS_BIND | MS_REC, NULL) != 0 && errno != ENOENT)
			stop(fixed[i]);
		if (mount(NULL, fixed[i], NULL, ro, NULL) != 0 && errno != ENOENT)
			stop(fixed[i]);
	}
}

static void make_root(const struct container *c)
{
	mount_or_stop(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	mount_or_stop("overlay", c->merged, "overlay", 0, c->overlay);
	if (chdir(c->merged) != 0)
		stop(c->merged);
	mount_or_stop("proc", "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
	make_devices();
	mount_or_stop("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
	hide();
	if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
		stop("pivot_root");
}

static const int refused[] = {
	SYS_acct, SYS_add_key, SYS_bpf, SYS_clock_settime, SYS_delete_module, SYS_finit_module, SYS_init_module, SYS_kexec_load,
	SYS_keyctl, SYS_mount, SYS_open_by_handle_at, SYS_perf_event_open, SYS_pivot_root, SYS_process_vm_readv, SYS_process_vm_writev,
	SYS_ptrace, SYS_quotactl, SYS_reboot, SYS_request_key, SYS_setns, SYS_settimeofday, SYS_swapoff, SYS_swapon, SYS_syslog,
	SYS_umount2, SYS_unshare, SYS_userfaultfd, SYS_io_uring_setup, SYS_move_mount, SYS_open_tree,
};
enum { NREFUSED = sizeof refused / sizeof *refused };

static void restrict_self(void)
{
	/* What a default container keeps: CHOWN DAC_OVERRIDE FSETID FOWNER SETGID SETUID SETPCAP NET_BIND_SERVICE KILL. */
	const uint32_t kept = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FSETID | 1u << CAP_FOWNER | 1u << CAP_SETGID |
			      1u << CAP_SETUID | 1u << CAP_SETPCAP | 1u << CAP_NET_BIND_SERVICE | 1u << CAP_KILL;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = kept, .permitted = kept } };
	struct sock_filter code[NREFUSED + 4];
	size_t n = 0;
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if ((c > 31 || !(kept & 1u << c)) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0 && errno != EINVAL)
			stop("drop a capability");
	if (syscall(SYS_capset, &head, data) != 0)
		stop("capset");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		stop("no_new_privs");
	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < NREFUSED; i++)
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refused[i], (uint8_t)(NREFUSED - i), 0);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	struct sock_fprog program = { .len = (unsigned short)n, .filter = code };
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
		stop("seccomp");
}

static void child(const struct container *c, int number, int gate)
{
	char go;
	/* A task that moves itself by "tasks" waits for nobody; "cgroup.procs" would wait for a grace period of the kernel. */
	for (int i = opt.cgroup2 ? 1 : 0; i < c->groups; i++)
		put(c->group[i], "tasks", "0");
	make_root(c);
	if (sethostname("limit", 5) != 0)
		stop("sethostname");
	if (opt.bridge && read(gate, &go, 1) != 1)
		stop("gate");
	configure_network(number);
	restrict_self();
	execve(opt.argv[0], opt.argv, (char *[]){ "PATH=/bin", NULL });
	stop(opt.argv[0]);
}

/* ---- the parent ---- */

static void make_directories(struct container *c, int number)
{
	char path[PATH_MAX];
	snprintf(c->dir, sizeof c->dir, "%s/%d-%d", opt.state, (int)getpid(), number);
	snprintf(c->merged, sizeof c->merged, "%s/merged", c->dir);
	snprintf(c->overlay, sizeof c->overlay, "lowerdir=%s,upperdir=%s/upper,workdir=%s/scratch,volatile", opt.lower, c->dir, c->dir);
	if (mkdir(c->dir, 0700) != 0 || mkdir(c->merged, 0755) != 0)
		stop(c->dir);
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", c->dir, i ? "scratch" : "upper");
		if (mkdir(path, 0755) != 0)
			stop(path);
	}
}

static void make_cgroups(struct container *c, int number)
{
	c->groups = 0;
	if (opt.cgroup2)
		snprintf(c->group[c->groups++], PATH_MAX, "%s/l%d-%d", opt.cgroup2, (int)getpid(), number);
	for (int i = 0; i < opt.ncgroup1; i++)
		snprintf(c->group[c->groups++], PATH_MAX, "%s/l%d-%d", opt.cgroup1[i], (int)getpid(), number);
	for (int i = 0; i < c->groups; i++) {
		if (mkdir(c->group[i], 0755) != 0)
			stop(c->group[i]);
		for (int w = 0; w < opt.nwrites; w++) {
			char file[128];
			const char *value = strchr(opt.writes[w], '=') + 1;
			snprintf(file, sizeof file, "%.*s", (int)(value - 1 - opt.writes[w]), opt.writes[w]);
			put(c->group[i], file, value);
		}
	}
}

/* Starts one container; returns how long it took until its program was executed. */
static double start(struct container *c, int number, int sock)
{
	int done[2], gate[2];
	double begin = micros();
	make_directories(c, number);
	make_cgroups(c, number);
	if (pipe2(done, O_CLOEXEC) != 0 || pipe2(gate, O_CLOEXEC) != 0)
		stop("pipe");
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
		.pidfd = (uintptr_t)&c->pidfd, .exit_signal = SIGCHLD,
	};
	int group = -1;
	if (opt.cgroup2) {
		if ((group = open(c->group[0], O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
			stop(c->group[0]);
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group;
	}
	c->pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (c->pid < 0)
		stop("clone3");
	if (c->pid == 0)
		child(c, number, gate[0]);
	if (group >= 0)
		close(group);
	close(done[1]);
	close(gate[0]);
	if (opt.bridge) {
		make_veth(sock, number, c->pid);
		if (write(gate[1], "", 1) != 1)
			stop("gate");
	}
	char nothing;
	while (read(done[0], &nothing, 1) < 0 && errno == EINTR)
		;
	double took = micros() - begin;
	close(done[0]);
	close(gate[1]);
	return took;
}

static void end(struct container *c)
{
	siginfo_t info;
	syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)c->pidfd, &info, WEXITED) != 0)
		if (errno != EINTR)
			stop("waitid");
	close(c->pidfd);
	if (info.si_code == CLD_EXITED && info.si_status == 1)
		_exit(1); /* it has said why */
}

static void clean(struct container *c)
{
#define OWN "scratch/work" /* overlayfs's own directory in its workdir */
	static const char *below[] = { OWN "/incompat/volatile/dirty", OWN "/incompat/volatile", OWN "/incompat", OWN, "scratch", "upper", "merged", "" };
	char path[PATH_MAX];
	for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
		snprintf(path, sizeof path, "%s/%s", c->dir, below[i]);
		if (unlink(path) != 0)
			rmdir(path);
	}
	for (int i = 0; i < c->groups; i++)
		for (int k = 0; k < 2000 && rmdir(c->group[i]) != 0 && errno == EBUSY; k++)
			usleep(500);
}

static uint32_t parse_address(const char *text)
{
	struct in_addr a;
	char copy[32];
	snprintf(copy, sizeof copy, "%.*s", (int)strcspn(text, "/"), text);
	if (inet_pton(AF_INET, copy, &a) != 1)
		stop(text);
	if (strchr(text, '/'))
		opt.bits = atoi(strchr(text, '/') + 1);
	return ntohl(a.s_addr);
}

static void options(int argc, char **argv)
{
	for (int c; (c = getopt(argc, argv, "+n:l:s:p:b:a:g:2:1:w:k")) != -1;) {
		switch (c) {
		case 'n': opt.count = atoi(optarg); break;
		case 'l': opt.lower = optarg; break;
		case 's': opt.state = optarg; break;
		case 'p': opt.pause_ms = atoi(optarg); break;
		case 'b': opt.bridge = optarg; break;
		case 'a': opt.address = parse_address(optarg); break;
		case 'g': opt.gateway = parse_address(optarg); break;
		case '2': opt.cgroup2 = optarg; break;
		case '1': if (opt.ncgroup1 < MAXCG) opt.cgroup1[opt.ncgroup1++] = optarg; break;
		case 'w': if (opt.nwrites < MAXCG && strchr(optarg, '=')) opt.writes[opt.nwrites++] = optarg; break;
		case 'k': opt.keep = 1; break;
		default: exit(2);
		}
	}
	opt.argv = argv + optind;
	if (!opt.lower || !opt.state || !opt.argv[0] || opt.count < 1) {
		fputs("usage: limit -n N -l LOWERDIR -s STATEDIR [options] -- PROGRAM ARG...\n", stderr);
		exit(2);
	}
	if (opt.bridge && (opt.bridge_index = (int)if_nametoindex(opt.bridge)) == 0)
		stop(opt.bridge);
}

int main(int argc, char **argv)
{
	options(argc, argv);
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	struct container *all = calloc((size_t)opt.count, sizeof *all);
	double *took = calloc((size_t)opt.count, sizeof *took);
	int sock = route_socket();
	if (!all || !took)
		stop("memory");
	if (mkdir(opt.state, 0700) != 0 && errno != EEXIST)
		stop(opt.state);
	double first = micros();
	for (int i = 0; i < opt.count; i++) {
		took[i] = start(&all[i], i, sock);
		if (!opt.keep) {
			end(&all[i]);
			clean(&all[i]);
		}
		if (opt.pause_ms > 0)
			usleep((useconds_t)opt.pause_ms * 1000);
	}
	double last = micros();
	if (opt.keep) {
		for (int i = 0; i < opt.count; i++)
			syscall(SYS_pidfd_send_signal, all[i].pidfd, SIGKILL, NULL, 0);
		for (int i = 0; i < opt.count; i++)
			end(&all[i]);
		for (int i = 0; i < opt.count; i++)
			clean(&all[i]);
	}
	for (int i = 0; i < opt.count; i++)
		printf("%.1f\n", took[i]);
	if (opt.keep)
		printf("total %.1f\nremoved %.1f\n", last - first, micros() - last);
	return 0;
}
