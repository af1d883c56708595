//! Programs of which nothing is known: what is given to them may be the name of another one.

use super::{MAX_LISTED, Shell};

/// Programs that start none of the words that they are given.
const HARMLESS: &[&str] = &[
    "[", "[[", "ack", "adduser", "ag", "apk", "apropos", "apt", "apt-cache", "apt-get", "apt-mark", "arp",
    "base32", "base64", "basename", "blkid", "brew", "bunzip2", "bzcat", "bzip2", "cat", "cd", "chage", "chgrp",
    "chmod", "chown", "cksum", "clear", "cmp", "colrm", "column", "comm", "cpio", "csplit", "curl", "cut", "date", "df",
    "diff", "dig", "dir", "dirname", "dirs", "dmesg", "dnf", "dos2unix", "dpkg", "dpkg-query", "du", "echo", "egrep",
    "exit", "expand", "expr", "false", "fc", "fgrep", "file", "fmt", "fold", "free", "fuser", "getconf", "getent",
    "getfacl", "grep", "groupadd", "groups", "gunzip", "gzip", "hash", "head", "hexdump", "hg", "host", "hostname", "htop",
    "id", "info", "iostat", "join", "journalctl", "jq", "kill", "killall", "last", "ldd", "let", "locate", "logger",
    "login", "logname", "ls", "lsattr", "lsblk", "lsb_release", "lscpu", "lsof", "md5sum", "mkdir", "mktemp", "mlocate",
    "mount", "nl", "nm", "nproc", "nslookup", "objdump", "od", "paste", "patch", "pgrep", "pidof", "ping", "pip", "pip3",
    "pkill", "popd", "pr", "printenv", "printf", "ps", "pushd", "pwd", "pwdx", "quota", "readelf", "readlink", "realpath",
    "return", "rev", "rg", "rm", "rmdir", "rpmquery", "scp", "seq", "setfacl", "sha1sum", "sha224sum", "sha256sum",
    "sha384sum", "sha512sum", "shasum", "shift", "shred", "shuf", "size", "sleep", "snap", "ss", "stat", "strings",
    "strip", "sum", "svn", "sync", "systemctl", "tac", "tail", "tee", "test", "top", "touch", "tr", "tree", "true",
    "truncate", "tty", "type", "umask", "umount", "unalias", "uname", "unexpand", "uniq", "unset", "unxz", "unzip",
    "update-alternatives", "uptime", "useradd", "userdel", "usermod", "vmstat", "w", "wait", "wc", "wget", "whatis",
    "whereis", "which", "who", "whoami", "xxd", "xz", "xzcat", "yum", "zcat", "zgrep", "zstd", "zypper",
];

impl Shell<'_> {
    /// What a program that is not known may start.
    pub(super) fn mentions(&mut self, base: &str, args: &[String]) {
        if HARMLESS.contains(&base) {
            return;
        }
        let known = |c: char| c.is_ascii_alphanumeric() || "_+-./".contains(c);
        for arg in args {
            for word in arg.split(|c: char| !known(c)) {
                let name = word.rsplit('/').next().unwrap_or(word);
                if name.is_empty() || self.mentions.contains(name) {
                    continue;
                }
                if self.mentions.len() >= MAX_LISTED {
                    return self.hide("it names too many words to be understood");
                }
                self.spend(1);
                self.mentions.insert(name.to_owned());
            }
        }
    }
}
