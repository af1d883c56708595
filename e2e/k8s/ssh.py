"""SSH from governed pods: stock clients to real OpenSSH, unchanged; what is refused, held, limited and
recorded; and what a pod can get at."""

import json
import re
import time

from lab import proc
from lab.report import contains, equal, lacks

import ssh_scene as scene
from ssh_scene import HOST, LATE, NAMESPACE, OTHER, POD, USER

COMMANDS = ("echo out; echo err >&2", "exit 42", "seq 1 50000", "head -c 100000 /usr/bin/env | base64", "kill -TERM $$")
DENIAL = re.compile(r'weir: denied by policy "ops" rule "([^"]+)": .+ \(audit id ([0-9a-z-]+)/(\d+)\)')
KNOWN = "/etc/ssh/ssh_known_hosts"
PLACEHOLDER = "/var/www/.ssh/id_ed25519"
BATCH = """\
put /tmp/sent batch
rename batch moved
chmod 600 moved
ls -1 moved
get moved /tmp/batch
rm moved
"""
COPIES = f"""\
set -e
cd /tmp
head -c 3000000 /dev/urandom > sent
sha256sum sent
for flag in -s -O; do
  scp -q $flag sent {USER}@{HOST}:copied
  scp -q $flag {USER}@{HOST}:copied back
  cmp sent back
done
sftp -q -b - {USER}@{HOST}
cmp sent batch
mkdir -p tree/a/b
seq 1 10000 > tree/a/b/numbers
cp sent tree/sent
rsync -az tree/ {USER}@{HOST}:tree/
rsync -az {USER}@{HOST}:tree/ tree-back/
diff -r tree tree-back
"""
GIT = f"""\
set -e
export HOME=/tmp GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
cd /tmp
ssh {USER}@{HOST} git init -q --bare -b main repo.git
git init -q -b main one
head -c 500000 /dev/urandom > one/file
git -C one add .
git -C one commit -qm first
git -C one push -q ssh://{USER}@{HOST}/home/{USER}/repo.git main
git clone -q ssh://{USER}@{HOST}/home/{USER}/repo.git two
cmp one/file two/file
"""
PARAMIKO = f"""\
import paramiko, sys
client = paramiko.SSHClient()
client.load_system_host_keys()
client.set_missing_host_key_policy(paramiko.RejectPolicy())
client.connect(sys.argv[1], username="{USER}", key_filename="{PLACEHOLDER}", look_for_keys=False, allow_agent=False)
out = client.exec_command("id -un; exit 3")[1]
print(out.read().decode().strip(), out.channel.recv_exit_status())
with client.open_sftp() as files:
    with files.open("by-paramiko", "w") as f:
        f.write("x" * 100000)
    print(files.stat("by-paramiko").st_size)
"""


class Ssh(scene.Scene):
    """The claims."""

    # ---------------------------------------------------------------------- what goes on as it was

    def hosts_are_known_without_an_option(self):
        """By every name and address of each Target; OpenSSH refuses an unknown host when nobody can be asked."""
        cluster_ip = self.cluster.get("service", "build", namespace=scene.HOSTS)["spec"]["clusterIP"]
        # The name of a pod is in the cluster's DNS a moment after the pod is ready.
        proc.wait_until(lambda: self.run("getent", "hosts", POD).returncode == 0, f"{POD} resolves", 60, every=0.5)
        for host in (HOST, f"{HOST}.svc", f"{HOST}.svc.cluster.local", cluster_ip, self.address, POD, OTHER):
            done = self.ssh("id -un", host=host)
            equal((done.stdout, done.returncode), (f"{USER}\n", 0), f"{host}: {done.stderr}")
            equal(done.stderr, "", host)
        done = self.run("ssh", "-p", "2222", f"{USER}@{self.address}", "id -un")
        equal((done.stdout, done.stderr), (f"{USER}\n", ""))
        for option in ("UserKnownHostsFile", "GlobalKnownHostsFile"):
            done = self.run("ssh", "-o", f"{option}=/dev/null", f"{USER}@{HOST}", "true")
            equal(done.returncode, 0, f"without {option}: {done.stderr}")
        done = self.run("ssh", "-o", "UserKnownHostsFile=/dev/null", "-o", "GlobalKnownHostsFile=/dev/null",
                        f"{USER}@{HOST}", "true")
        contains(done.stderr, "Host key verification failed")
        real = f"echo '{HOST} {self.host_key()}' > /tmp/real; ssh -o UserKnownHostsFile=/tmp/real {USER}@{HOST} true"
        done = self.run("sh", "-c", real)
        equal((done.returncode, done.stderr), (0, ""), "beside a line for the real host")
        # A pod that says nothing but where it lives.
        done = self.ssh("id -un", pod="own")
        equal((done.stdout, done.stderr), (f"{USER}\n", ""))

    def commands_are_as_they_are_direct(self):
        for command in COMMANDS:
            direct, through = self.direct(command), self.ssh(command)
            equal((through.returncode, through.stdout, through.stderr),
                  (direct.returncode, direct.stdout, direct.stderr), command)
        text = "x" * 500_000
        equal(self.ssh("wc -c; sha256sum", input=text).stdout, self.direct("wc -c; sha256sum", input=text).stdout)

    def a_shell_on_a_real_terminal(self):
        typed = "stty size\necho shell-$((6*7))\nexit 5\n"
        answers = []
        for run, options in ((self.outside, "-i /keys/login"), (self.run, "")):
            command = f"stty rows 41 cols 137; ssh {options} {USER}@{HOST}"
            done = run("env", "TERM=xterm-256color", "script", "-qec", command, "/dev/null", input=typed)
            equal(done.returncode, 5, done.stdout + done.stderr)
            for part in ("41 137", "shell-42"):
                contains(done.stdout, part)
            command = f"stty rows 41 cols 137; ssh {options} -tt {USER}@{HOST} 'stty -a; tty | cut -c1-8; echo $TERM; exit 7'"
            done = run("env", "TERM=xterm-256color", "script", "-qec", command, "/dev/null")
            equal(done.returncode, 7, done.stdout)
            # `script` hands the end of its input on as a character, at some moment.
            answers.append(done.stdout.replace("^@", ""))
        equal(answers[1], answers[0], "what the terminal showed")

    def scp_sftp_and_rsync(self):
        """All of them bring what they are given, and a file's digest finds what was moved inside SFTP."""
        done = self.run("sh", "-c", COPIES, input=BATCH)
        equal(done.returncode, 0, done.stdout + done.stderr)
        digest = done.stdout.split()[0]
        def transfers():
            found = self.events(f"--sha256 {digest} --limit 20")
            return sorted(event["direction"] for event in found if event["protocol"] == "sftp")
        proc.wait_until(lambda: len(transfers()) >= 4, "the transfers are evidence", 15, every=0.5)
        equal(transfers(), ["download", "download", "upload", "upload"])

    def git_clones_and_pushes(self):
        done = self.run("sh", "-c", GIT)
        equal(done.returncode, 0, done.stdout + done.stderr)

    def paramiko_knows_the_hosts_by_plain_lines(self):
        for host in (HOST, OTHER):
            done = self.run("python3", "-c", PARAMIKO, host)
            equal(done.stdout, f"{USER} 3\n100000\n", done.stderr[-600:])

    def weirs_own_certificate_opens_the_host(self):
        """`other` is opened by a certificate that Weir signs for each login: it names the pod and its address."""
        equal(self.ssh("id -un", host=OTHER).stdout, f"{USER}\n")
        log = self.cluster.logs("other", "sshd", namespace=scene.HOSTS)
        accepted = [line for line in log.splitlines() if "Accepted publickey" in line]
        assert re.search(rf"ID weir:\S*ns/{NAMESPACE}/sa/default \(serial \d+\) CA ED25519", accepted[-1]), accepted[-1:]

    def a_target_that_comes_later_is_known_in_running_pods(self):
        """The file that is mounted is the one that changes; it goes the same way back. Hosts that the pod may
        not use are not in it."""
        def known():
            return [path for path in (KNOWN, "/var/www/.ssh/known_hosts")
                    if f"\n{LATE} ssh-ed25519 " in self.run("cat", path).stdout]
        equal(known(), [])
        self.cluster.apply(self.filled(scene.LATER))
        began = time.monotonic()
        proc.wait_until(lambda: len(known()) == 2, "running pods know the new host", 30, every=0.2)
        print(f"      {time.monotonic() - began:.1f} s after kubectl returned")
        equal(self.run("python3", "-c", PARAMIKO, LATE).stdout, f"{USER} 3\n100000\n")
        equal(self.ssh("id -un", host=LATE).stdout, f"{USER}\n")
        lacks(self.run("cat", KNOWN).stdout, "192.0.2.7")
        self.cluster.kubectl("delete", "target", "late")
        proc.wait_until(lambda: not known(), "it is known no more", 30, every=0.2)

    def a_new_sidecar_has_the_same_host_keys(self):
        before = self.run("cat", KNOWN).stdout
        assert re.match(r"@cert-authority \*\S* +ssh-ed25519 ", before), before[:80]
        pod = self.agents[0]
        self.cluster.kill(pod, "weir-sidecar", namespace=NAMESPACE)
        def again():
            status = self.cluster.get("pod", pod, namespace=NAMESPACE)["status"]["initContainerStatuses"][0]
            return status["restartCount"] > 0 and status["ready"]
        proc.wait_until(again, "the sidecar is back", 60, every=0.3)
        self.cluster.wait_pod(pod, namespace=NAMESPACE)
        equal(self.run("cat", KNOWN).stdout, before)
        equal(self.ssh("id -un").stdout, f"{USER}\n")

    # ------------------------------------------------------------------------------ what is governed

    def a_denied_command_says_why(self):
        done = self.ssh("tar cf - /etc/hostname")
        equal((done.returncode, done.stdout), (126, ""))
        denial = DENIAL.search(done.stderr)
        assert denial, done.stderr
        equal(denial.group(1), "no-archives")
        event, = proc.wait_until(lambda: self.events("--decision deny --text tar --limit 1"), "it is evidence", 15)
        equal((event["session"]["id"], event["rules"]), (denial.group(2), ["ops/no-archives"]))

    def a_held_command_goes_on_when_it_is_approved(self):
        log = f"{self.weir.work}/release.log"
        child = self.weir.spawn(f"kubectl -n {NAMESPACE} exec {self.agents[0]} -c app -- ssh {USER}@{HOST} "
                                "'touch released && echo done'", log)
        def listed():
            text = self.weir.shell(f"kubectl weir requests -n {NAMESPACE}", who="alice", check=False).stdout
            return re.search(r"\bweir-[0-9a-z]+", text)
        name = proc.wait_until(listed, "a request is listed", every=0.2, log=log).group(0)
        equal(child.poll(), None, "it did not wait")
        lacks(self.on_host("ls", f"/home/{USER}"), "released")
        refused = self.weir.shell(f"kubectl weir approve -n {NAMESPACE} {name}", who="mallory", check=False)
        assert refused.returncode != 0, refused.stdout
        self.weir.shell(f"kubectl weir approve -n {NAMESPACE} {name}", who="alice")
        equal(child.wait(30), 0, proc.tail(log))
        said = proc.tail(log)
        contains(said, f"awaiting approval {name}")
        contains(said, "done")
        contains(self.on_host("ls", f"/home/{USER}"), "released")

    def evidence_names_the_workload_and_replays_the_shell(self):
        pod = self.cluster.get("pod", self.agents[0], namespace=NAMESPACE)
        mark = "echo mark-$((6*7)); exit 6\n"
        done = self.run("script", "-qec", f"ssh {USER}@{HOST}", "/dev/null", input=mark)
        equal(done.returncode, 6, done.stdout)
        def shells():
            found = [event for event in self.events("--since 1m --limit 50") if event.get("command") == "shell"]
            return [event for event in found if event.get("outcome", {}).get("code") == "exit 6"]
        event = proc.wait_until(shells, "the shell is evidence", 30, every=0.3)[-1]
        who = event["session"]["identity"]
        expected = {"namespace": NAMESPACE, "service_account": "default", "pod": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"], "workload": "Deployment/agent", "node": pod["spec"]["nodeName"]}
        equal({name: who.get(name) for name in expected}, expected)
        equal((event["session"]["target"], event["session"]["user"]), ("build", USER))
        session = event["session"]["id"]
        def replayed():
            return "mark-42" in self.weir.evidence(f"replay {session} --raw never")
        proc.wait_until(replayed, "the shell is replayed", 30, every=0.3)
        self.weir.evidence(f"replay {session}/{event['number']} --export asciicast --file shell.cast")
        with open(f"{self.weir.work}/shell.cast", encoding="utf-8") as f:
            lines = f.read().splitlines()
        equal(json.loads(lines[0])["version"], 3)
        contains("".join(json.loads(line)[2] for line in lines[1:]), "mark-42")

    def replicas_share_one_window(self):
        self.cluster.apply(scene.WINDOW)
        limit, read, refused = 1 << 20, 0, set()
        try:
            def limited():
                policies = self.cluster.get("clusterguardpolicy", "ops-window").get("status", {}).get("conditions", ())
                return any(c["type"] == "Ready" and c["status"] == "True" for c in policies)
            proc.wait_until(limited, "the window is in force", 30, every=0.2)
            for _ in range(10):
                for pod in self.agents:
                    done = self.ssh("head -c 150000 /dev/zero | tr '\\0' x", host=OTHER, pod=pod)
                    read += len(done.stdout)
                    if "hourly" in done.stderr:
                        refused.add(pod)
                assert read <= limit, f"{read} bytes of {limit}"
                if len(refused) == len(self.agents):
                    break
            equal(len(refused), len(self.agents), "pods that were refused")
            assert read >= limit * 3 // 4, f"{read} bytes of {limit}"
            print(f"      two replicas read {read} of {limit} bytes")
        finally:
            self.cluster.kubectl("delete", "clusterguardpolicy", "ops-window")

    def an_edit_is_in_force_on_an_open_connection(self):
        control = ("-o", "ControlPath=/tmp/master", f"{USER}@{HOST}")
        self.run("ssh", "-o", "ControlMaster=yes", "-fN", *control, check=True)
        try:
            equal(self.run("ssh", *control, "id -un").stdout, f"{USER}\n")
            self.policy(scene.STRICTER)
            began = time.monotonic()
            denied = proc.wait_until(lambda: DENIAL.search(self.run("ssh", *control, "id -un").stderr), "it is denied", 30)
            print(f"      {time.monotonic() - began:.1f} s after kubectl returned")
            equal(denied.group(1), "no-id")
            equal(self.run("ssh", *control, "echo open").stdout, "open\n")
            self.policy()
            proc.wait_until(lambda: self.run("ssh", *control, "id -un").stdout == f"{USER}\n", "it is permitted again", 30)
        finally:
            self.run("ssh", "-O", "exit", *control)

    def forwarding_is_refused_unless_it_is_allowed(self):
        ask = "GET / HTTP/1.0\r\n\r\n"
        def page():
            return self.run("ssh", "-W", "127.0.0.1:7000", f"{USER}@{HOST}", input=ask)
        contains(self.outside("ssh", "-i", "/keys/login", "-W", "127.0.0.1:7000", f"{USER}@{HOST}", input=ask).stdout, "200 OK")
        refused = page()
        lacks(refused.stdout, "200 OK")
        contains(refused.stderr, "weir: denied by policy \"ops\"")
        jump = self.run("ssh", "-J", f"{USER}@{HOST}", f"{USER}@{OTHER}", "id -un")
        equal((jump.returncode, jump.stdout), (255, ""))
        contains(jump.stderr, "weir: denied by policy \"ops\"")
        local = ("ssh -o ExitOnForwardFailure=yes -fN -L 7070:127.0.0.1:7000 -o ControlMaster=yes -o ControlPath=/tmp/forward "
                 f"{USER}@{HOST}; python3 -c 'import urllib.request; "
                 "print(urllib.request.urlopen(\"http://127.0.0.1:7070/\", timeout=5).status)'; "
                 f"ssh -O exit -o ControlPath=/tmp/forward {USER}@{HOST}")
        lacks(self.run("sh", "-c", local).stdout, "200")
        self.policy(scene.FORWARD)
        try:
            proc.wait_until(lambda: "200 OK" in page().stdout, "the destination is allowed", 30, every=0.3)
            contains(self.run("sh", "-c", local).stdout, "200")
            done = self.run("ssh", "-W", "127.0.0.1:22", f"{USER}@{HOST}", input="")
            lacks(done.stdout, "SSH-2.0")
            contains(done.stderr, "weir: denied by policy \"ops\"")
            jump = self.run("ssh", "-J", f"{USER}@{HOST}", f"{USER}@{OTHER}", "id -un; echo jumped")
            equal(jump.stdout, f"{USER}\njumped\n", jump.stderr)
            inner = proc.wait_until(lambda: self.events("--since 1m --text jumped"), "the inner session is evidence")[0]
            contains(inner["session"]["client"], " through ")
            equal(inner["session"]["target"], "other")
        finally:
            self.policy()

    # ---------------------------------------------------------------------------- what a pod can get at

    def the_login_is_nowhere_in_the_pod(self):
        """Neither the key that opens the host nor the host CA; the search finds the key that opens nothing."""
        spec = json.dumps(self.cluster.get("pod", self.agents[0], namespace=NAMESPACE))
        login, placeholder = (self.seed(text) for text in (self.read("login"), self.run("cat", PLACEHOLDER).stdout))
        where = self.found(placeholder)
        assert PLACEHOLDER in where and any(path.endswith("/weir/trust/ssh_key") for path in where), where
        equal(self.found(login), [])
        lacks(spec, login)
        keys = [path for path in self.found("PRIVATE KEY-----") if not path.startswith("/etc/ssh/ssh_host_")]
        programs = [path for path in keys if path.startswith("/usr/")]
        equal(sorted(set(keys) - set(programs)), sorted(where), "private keys")
        contains(self.run("ls", "/var/lib/weir").stderr, "No such file")
        environments = self.inside("sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'")
        contains(environments, "KUBERNETES_SERVICE_HOST")
        lacks(environments, login)
        lacks(environments, "PRIVATE KEY")

    def the_key_that_is_there_opens_nothing(self):
        text = self.run("cat", PLACEHOLDER).stdout
        self.outside("sh", "-c", "umask 077; cat > /tmp/placeholder", input=text, check=True)
        public = self.outside("ssh-keygen", "-y", "-f", "/tmp/placeholder")
        contains(public.stdout, "ssh-ed25519 ")
        for host in (HOST, OTHER):
            equal(self.direct("true", host=host).returncode, 0)
            done = self.outside("ssh", "-i", "/tmp/placeholder", "-o", "IdentitiesOnly=yes", f"{USER}@{host}", "true")
            equal(done.returncode, 255)
            contains(done.stderr, "Permission denied (publickey)")
        equal(self.run("ssh", "-i", PLACEHOLDER, "-o", "IdentitiesOnly=yes", f"{USER}@{HOST}", "id -un").stdout, f"{USER}\n")

    def a_key_of_ones_own_goes_the_same_way(self):
        """By every address of the host: as pod, over IPv6, on a port that no Target names."""
        own = ("ssh", "-i", "/keys/login", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5")
        local = re.search(r"^(fe80\w+) .* eth0$", self.on_host("cat", "/proc/net/if_inet6"), re.M).group(1)
        local = ":".join(re.findall("....", local)) + "%eth0"
        governed, unknown = r'denied by policy "ops" rule "no-archives"', "closed|reset|refused|unreachable"
        for port, address, answer in (("22", HOST, governed), ("22", self.address, governed), ("2222", self.address, governed),
                                      ("2200", self.address, unknown), ("22", LATE, unknown), ("22", local, unknown)):
            command = (*own, "-p", port, f"{USER}@{address}", "tar --version")
            contains(self.outside(*command).stdout, "GNU tar", f"without Weir, {address} {port}")
            held = self.run(*command, pod="own")
            lacks(held.stdout, "GNU tar")
            assert re.search(answer, held.stderr), f"{address} {port}: {held.stderr!r} is not /{answer}/"
        def recorded():
            found = self.weir.evidence(f"query --kind refusals,findings -n {NAMESPACE} --since 2m -o json")
            return f"{self.address}:2200" in found
        proc.wait_until(recorded, f"the refusal of {self.address}:2200 is recorded", 30, every=0.3)

    # -------------------------------------------------------------------------------------- helpers

    def events(self, query):
        """What `weir query` finds in the namespace."""
        found = json.loads(self.weir.evidence(f"query -n {NAMESPACE} {query} -o json"))
        return found if isinstance(found, list) else found["events"]

    def inside(self, *argv):
        """What the node's root sees with the application's files and processes."""
        pid = self.cluster.pid(self.agents[0], "app", namespace=NAMESPACE)
        return self.cluster.run("nsenter", "-m", "-p", "-t", pid, *argv, check=False).stdout

    def found(self, text):
        """Files of the application's container with this in them, whoever may read them."""
        return self.inside("grep", "-rlF", "-D", "skip", "--exclude-dir=proc", "--exclude-dir=sys", "-e", text, "/").split()

    @staticmethod
    def seed(key):
        """The line of an Ed25519 key in OpenSSH's form that holds the secret."""
        return key.splitlines()[4]


def run(weir, report):
    """The claims."""
    suite = Ssh(weir)
    claims = (suite.hosts_are_known_without_an_option, suite.commands_are_as_they_are_direct,
              suite.a_shell_on_a_real_terminal, suite.scp_sftp_and_rsync, suite.git_clones_and_pushes,
              suite.paramiko_knows_the_hosts_by_plain_lines, suite.weirs_own_certificate_opens_the_host,
              suite.the_login_is_nowhere_in_the_pod, suite.the_key_that_is_there_opens_nothing,
              suite.a_denied_command_says_why, suite.a_held_command_goes_on_when_it_is_approved,
              suite.evidence_names_the_workload_and_replays_the_shell, suite.replicas_share_one_window,
              suite.an_edit_is_in_force_on_an_open_connection, suite.forwarding_is_refused_unless_it_is_allowed,
              suite.a_target_that_comes_later_is_known_in_running_pods, suite.a_new_sidecar_has_the_same_host_keys,
              suite.a_key_of_ones_own_goes_the_same_way)
    names = [f"ssh: {claim.__name__}" for claim in claims]
    if not any(map(report.wanted, names)):
        return
    suite.prepare()
    try:
        for name, claim in zip(names, claims):
            report.check(name, claim)
    finally:
        suite.clean()
