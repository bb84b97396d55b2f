# Tries what a taken-over daemon would try, and prints one line for each: `home: denied` or
# `home: done`. Perl, because it is part of every Debian and calls the system without a compiler.

use strict;
use warnings;
use POSIX ();
use Socket;

my $state = $ENV{STATE_DIRECTORY} // '/var/lib/nexudus-proxy';
# Numbers of system calls: x86-64, then arm64.
my $is_arm = (POSIX::uname())[4] eq 'aarch64';
my %number = (
    mmap => [9, 222], unshare => [272, 97], mount => [165, 40], ptrace => [101, 117],
    memfd_create => [319, 279], sethostname => [170, 161], sched_setscheduler => [144, 119], personality => [135, 92],
);
# Copies, because the call may write to what it is given.
sub call { my ($name, @given) = @_; return syscall($number{$name}[$is_arm], @given) != -1 }
sub write_to { my $path = shift; open(my $file, '>', $path) or return 0; return close $file }
# In a process of its own: what works must not change the next attempt.
sub apart { my $act = shift; my $pid = fork // die; if (!$pid) { POSIX::_exit($act->() ? 0 : 1) } waitpid($pid, 0); return $? == 0 }
sub run { my @words = @_; return apart(sub { no warnings 'exec'; exec { $words[0] } @words; return 0 }) }
sub run_copy {
    my $path = shift;
    open(my $from, '<', '/bin/true') or return 0;
    open(my $to, '>', $path) or return 0;
    binmode $_ for $from, $to;
    local $/;
    print {$to} scalar <$from>;
    close $to;
    my $done = chmod(0700, $path) && run($path);
    unlink $path;
    return $done;
}

my @attempts = (
    # Files.
    'read a home' => sub { -e '/home/alice' },
    'read the files of root' => sub { opendir(my $root, '/root') },
    'write the configuration' => sub { write_to('/etc/nexudus-proxy/marker') },
    'write a unit' => sub { write_to('/etc/systemd/system/marker.service') },
    'write a program' => sub { write_to('/usr/local/bin/marker') },
    'write beside the sockets' => sub { write_to('/run/nexudus-proxy/marker') },
    'see the temporary files of others' => sub { -e '/tmp/marker-of-another' },
    'a device' => sub { -e '/dev/marker' },
    # Programs.
    'run a shell' => sub { run('/bin/sh', '-c', 'true') },
    'run what it has written' => sub { run_copy("$state/marker-program") },
    'run what it has written elsewhere' => sub {
        grep { run_copy("$_/marker-program") } '/tmp', '/var/tmp', '/dev/shm', '/dev/mqueue';
    },
    'run what it has in memory' => sub {
        my $name = "marker";
        my $memory = syscall($number{memfd_create}[$is_arm], $name, 0);
        $memory >= 0 && run_copy("/proc/$$/fd/$memory");
    },
    'memory that is written and run' => sub { call('mmap', 0, 4096, 7, 0x22, -1, 0) },
    'a program that runs as its owner' => sub {
        my $path = "$state/marker-owner";
        my $done = write_to($path) && chmod(04755, $path);
        unlink $path;
        return $done;
    },
    # Others.
    'see other processes' => sub { -e '/proc/1/cmdline' },
    'signal other processes' => sub { kill(0, 1) },
    'trace a process' => sub { apart(sub { call('ptrace', 0, 0, 0, 0) }) },
    # The kernel and the machine.
    'a user namespace' => sub { apart(sub { call('unshare', 0x10000000) }) },
    'a mount' => sub { apart(sub { call('unshare', 0x00020000) && call('mount', "none\0", "/mnt\0", "tmpfs\0", 0, 0) }) },
    'the name of the machine' => sub { call('sethostname', "vm\0", 2) },
    'real-time scheduling' => sub { apart(sub { call('sched_setscheduler', 0, 1, pack('i', 1)) }) },
    'another personality' => sub { apart(sub { call('personality', 0x0008) }) },
    'a setting of the kernel' => sub { write_to('/proc/sys/kernel/domainname') },
    'a control group' => sub { my $done = mkdir('/sys/fs/cgroup/marker'); rmdir('/sys/fs/cgroup/marker'); $done },
    # The network.
    'a packet socket' => sub { socket(my $s, 17, SOCK_RAW, 0) },
    'a raw socket' => sub { socket(my $s, PF_INET, SOCK_RAW, 1) },
    'a port of the system' => sub {
        my $s;
        socket($s, PF_INET, SOCK_STREAM, 0) && bind($s, pack_sockaddr_in(443, INADDR_LOOPBACK));
    },
    # What it is there for.
    'write its state' => sub { my $done = write_to("$state/marker"); unlink "$state/marker"; $done },
    'ask whose connection it is' => sub { socket(my $s, 16, SOCK_DGRAM, 4) },
    'call the upstream' => sub {
        my $s;
        socket($s, PF_INET, SOCK_STREAM, 0) && connect($s, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK));
    },
);

$| = 1;
while (my ($name, $attempt) = splice(@attempts, 0, 2)) {
    print "$name: ", ($attempt->() ? 'done' : 'denied'), "\n";
}
