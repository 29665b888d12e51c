"""Attacks on what is stored: the root, the host's files, execution of what was written."""

from __future__ import annotations

from typing import Final

from tests.hostile.case import group

make = group("files", "only /tmp and shared memory can be written, and nothing there can be executed")
leave = group("collected", "only the program's own regular files come out, within their limits")

CASES: Final = (
    make("everywhere", """
places = []
for folder, folders, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys/fs/cgroup")):
        folders.clear()
        continue
    if folder.count("/") > 5:
        folders.clear()
    try:
        os.close(os.open(os.path.join(folder, "x"), os.O_CREAT | os.O_WRONLY))
        places.append(folder)
    except OSError:
        pass
says(sorted(places))
""", report=["/dev/shm", "/tmp"]),
    make("remount", 'libc = ctypes.CDLL(None, use_errno=True)\nsays([libc.mount(None, b"/", None, 32, None), errno.errorcode[ctypes.get_errno()]])', report=[-1, "EPERM"]),
    make("replace python", 'says([tried(open, path, "wb") for path in (sys.executable, os.__file__, json.__file__)])', report=["EROFS"] * 3),
    make("hosts and resolver", 'says(sorted({tried(open, path, "a") for path in ("/etc/hosts", "/etc/passwd", "/etc/resolv.conf")} - {"EACCES", "EROFS", "ENOENT"}))', report=[]),
    make("cron and profile", 'says([tried(open, path, "w") for path in ("/etc/profile", "/etc/crontab", "/root/.profile")])', report=["EROFS", "EROFS", "EACCES"]),
    make("execute a script", """
open("/tmp/x", "w").write("#!/bin/sh\\necho ran")
os.chmod("/tmp/x", 0o777)
says([tried(os.execv, "/tmp/x", ["x"])])
""", report=["EACCES"]),
    make("execute from shared memory", """
open("/dev/shm/x", "wb").write(open("/bin/true", "rb").read())
os.chmod("/dev/shm/x", 0o777)
says([tried(os.execv, "/dev/shm/x", ["x"])])
""", report=["EACCES"]),
    make("map what was written as code", """
import mmap
open("/tmp/x", "wb").write(b"\\xc3" * 4096)
handle = os.open("/tmp/x", os.O_RDWR)
says([tried(mmap.mmap, handle, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_EXEC)])
""", report=["EPERM"]),
    make("load a library that was written", """
open("/tmp/x.so", "wb").write(open("/lib/x86_64-linux-gnu/libm.so.6" if os.path.exists("/lib/x86_64-linux-gnu/libm.so.6") else "/lib/aarch64-linux-gnu/libm.so.6", "rb").read())
try:
    ctypes.CDLL("/tmp/x.so")
    says("loaded")
except OSError as error:
    says("held")
""", report="held"),
    make("an anonymous file in memory", 'says([tried(os.memfd_create, "x")])', report=["EPERM"]),
    make("set-uid", """
open("/tmp/x", "wb").write(open("/bin/true", "rb").read())
says([tried(os.chmod, "/tmp/x", 0o4755), tried(os.chown, "/tmp/x", 0, 0), os.stat("/tmp/x").st_uid])
""", report=["worked", "EPERM", 65532]),
    make("devices", 'says([tried(os.mknod, "/tmp/d", 0o60600, os.makedev(8, 0)), tried(os.mknod, "/tmp/c", 0o20600, os.makedev(1, 1))])', report=["EPERM", "EPERM"]),
    make("raw disks and memory", 'says([tried(open, path, "rb") for path in ("/dev/mem", "/dev/kmem", "/dev/sda", "/dev/vda", "/dev/kmsg", "/proc/kcore")][:4])', report=["ENOENT"] * 4),
    make("a root of its own", 'os.mkdir("/tmp/r")\nsays([tried(os.chroot, "/tmp/r")])', report=["EPERM"]),
    make("kernel switches", 'says([tried(open, "/proc/sys/" + path, "w") for path in ("kernel/core_pattern", "kernel/hostname", "vm/drop_caches", "net/ipv4/ip_forward")])', report=["EROFS"] * 4),
    make("the box's own cgroup", """
paths = ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/release_agent"]
says(sorted({tried(open, path, "w") for path in paths} - {"ENOENT"}) in (["EROFS"], ["EACCES"], ["EACCES", "EROFS"]))
""", report=True),
    leave("a link to a file outside", 'os.symlink("/etc/passwd", "a.txt")', outputs=("*.txt",), holds=lambda outcome: not outcome.files and outcome.skipped_files[0].reason == "not_regular"),
    leave("a link to a folder outside", 'os.symlink("/etc", "etc")', outputs=("**/*", "etc/passwd"), holds=lambda outcome: not outcome.files),
    leave("a hard link to a file outside", 'says([tried(os.link, "/etc/passwd", "a.txt")])', outputs=("*.txt",), report=["EXDEV"], holds=lambda outcome: not outcome.files),
    leave("through the process table", 'os.symlink("/proc/self/root/etc/passwd", "a")\nos.symlink("/proc/1/environ", "b")\nos.symlink("/proc/self/fd", "c")', outputs=("*", "c/*"), holds=lambda outcome: not outcome.files),
    leave("a pipe", 'os.mkfifo("p.txt")', outputs=("*.txt",), holds=lambda outcome: not outcome.files and outcome.skipped_files[0].reason == "not_regular"),
    leave("a pipe with a writer", 'os.mkfifo("p.txt")\nif os.fork() == 0:\n    os.open("p.txt", os.O_RDWR)\n    time.sleep(9)\ntime.sleep(0.1)', outputs=("*.txt",), holds=lambda outcome: not outcome.files),
    leave("a socket", 'socket.socket(socket.AF_UNIX).bind("s.txt")', outputs=("*.txt",), holds=lambda outcome: not outcome.files),
    leave("a file of holes", 'open("h.bin", "wb").truncate(6 << 20)\nsays(os.stat("h.bin").st_blocks)', outputs=("*.bin",), report=0, holds=lambda outcome: sum(len(file.content) for file in outcome.files) <= 8 << 20),
    leave("a file that claims a terabyte", 'says([tried(open("h.bin", "wb").truncate, 1 << 40)])', outputs=("*.bin",), report=["EFBIG"]),
    leave("ten thousand files", 'n = 0\ntry:\n    for n in range(20000): open(f"f{n:05}.txt", "w").close()\nexcept OSError: pass\nsays(n < 10000)', outputs=("*.txt",), report=True, holds=lambda outcome: len(outcome.files) == 100),
    leave("a deep tree", 'for n in range(200):\n    os.mkdir("d"); os.chdir("d")\nopen("x.txt", "w").write("deep")', outputs=("**/*.txt",), holds=lambda outcome: not outcome.files),
    leave("names that climb", 'os.makedirs("a/b")\nopen("a/b/..x", "w").write("1")\nopen("a/..", "r") if False else None', outputs=("a/b/*", "../../etc/passwd", "/etc/passwd"), holds=lambda outcome: [file.path for file in outcome.files] == ["a/b/..x"]),
    leave("names that are no text", 'open(b"x\\xff.txt", "w").write("1")\nopen("y\\n.txt", "w").write("2")\nopen("z" * 250 + ".txt", "w").write("3")', outputs=("*.txt",), holds=lambda outcome: all("\udcff" not in file.path for file in outcome.files) and len(outcome.files) == 2),
    leave("a swap while it is collected", """
open("x.txt", "w").write("mine")
if os.fork() == 0:
    os.setsid()
    while True:
        os.unlink("x.txt"); os.symlink("/etc/passwd", "x.txt"); os.unlink("x.txt"); open("x.txt", "w").write("mine")
time.sleep(0.2)
""", outputs=("*.txt",), holds=lambda outcome: all(b"root:" not in file.content for file in outcome.files)),
    leave("a file without permission", 'open("x.txt", "w").write("1")\nos.chmod("x.txt", 0)\nos.mkdir("d"); os.chmod("d", 0)', outputs=("**",), holds=lambda outcome: not outcome.files),
    leave("more than the disk", 'for n in range(9):\n    try: open(f"{n}.bin", "wb").write(b"x" * (1 << 20))\n    except OSError: pass', outputs=("*.bin",), holds=lambda outcome: 0 < sum(len(file.content) for file in outcome.files) <= 8 << 20),
    leave("any bytes", 'open("x.bin", "wb").write(bytes(range(256)) * 3)', outputs=("x.bin",), holds=lambda outcome: outcome.files[0].content == bytes(range(256)) * 3),
)  # fmt: skip
