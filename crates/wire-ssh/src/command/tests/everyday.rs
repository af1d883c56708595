//! Commands of deployments, checks and maintenance: a rule against some tool is nothing to them.

use super::refused;

const BENIGN: &[&str] = &[
    // databases
    "pg_isready -h localhost && psql -U app -c 'select 1'",
    "PGPASSWORD=x psql -h db -U app -d shop -tAc \"select count(*) from t where a ~ '\\d+|x'\"",
    "for db in $(psql -At -c 'select datname from pg_database'); do echo $db; done",
    "mysql -u root -e \"SHOW PROCESSLIST\" | grep -v Sleep",
    "sqlite3 /srv/app.db \"update t set a='x' where id=1;\"",
    "sqlite3 /srv/app.db .dump | gzip > /backup/a.sql.gz",
    "gunzip -c /backup/a.sql.gz | psql shop",
    "zcat dump.sql.gz | mysql shop",
    "cat schema.sql | sqlite3 x",
    "n=$(psql -At -c 'select count(*) from t'); (( n > 5 )) && echo many",
    // releases
    "cd /srv/app && git fetch origin && git checkout -f main && composer install --no-dev && php artisan migrate --force",
    "docker pull registry/x:1 && docker stop app; docker rm app; docker run -d --name app -p 80:80 registry/x:1",
    "sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Options::=\"--force-confdef\" -o Dpkg::Options::=\"--force-confold\" upgrade",
    "tar -C /srv -xzf /tmp/release.tar.gz && ln -sfn /srv/release-7 /srv/current && sudo systemctl reload nginx",
    "cp app.jar /srv/app/ && sudo systemctl restart app && sleep 5 && systemctl is-active app",
    "rsync -a --delete --exclude .git ./ /srv/www/",
    "wget -O /tmp/a.zip https://x/a.zip && unzip -o /tmp/a.zip -d /srv/www",
    "curl -sSL https://x/y.tar.gz | tar xz -C /opt",
    "curl -fsSL https://x/key.gpg | sudo gpg --dearmor -o /usr/share/keyrings/x.gpg",
    "pip install -q -r requirements.txt && python3 manage.py migrate",
    "npm ci --production && pm2 restart all",
    "make -C src -j$(nproc) && make -C src install",
    "ansible-playbook site.yml --limit web",
    "helm upgrade --install app ./chart -f values.yaml",
    "kubectl apply -f deploy.yaml && kubectl rollout status deploy/app",
    "dpkg -i /tmp/app.deb",
    "cat > /etc/systemd/system/app.service <<'X'\n[Service]\nExecStart=/srv/app\nX\nsystemctl daemon-reload && systemctl enable --now app",
    "tee /etc/nginx/sites-enabled/x <<< \"server {}\" && nginx -t && systemctl reload nginx",
    // git
    "git log -1 --format=%H",
    "git -C /srv/app rev-parse HEAD",
    "git stash && git pull --rebase && git stash pop",
    "git archive --format=tar HEAD | tar -x -C /srv/build",
    "git diff --stat HEAD~1",
    "git -c http.sslVerify=false -c credential.helper=store clone https://x/y.git",
    "git config --global credential.helper store",
    // checks
    "free -m | awk 'NR==2{printf \"%.2f%%\\n\", $3*100/$2 }'",
    "if [ $(df / | awk 'NR==2 {print $5}' | tr -d '%') -gt 90 ]; then echo full; fi",
    "mem=$(free | awk '/Mem/{printf \"%d\", $3/$2*100}'); if (( mem > 90 )); then echo low; fi",
    "load=$(cut -d' ' -f1 /proc/loadavg); echo \"load $load\"",
    "count=$(ps aux | grep -c [n]ginx); [[ $count -gt 0 ]] && echo up",
    "status=$(curl -s -o /dev/null -w '%{http_code}' http://localhost/health); if [[ $status -ne 200 ]]; then exit 1; fi",
    "n=0; until curl -sf http://localhost/health; do n=$((n+1)); [ $n -gt 30 ] && exit 1; sleep 1; done",
    "for i in $(seq 1 5); do echo $((i*i)); done",
    "start=$SECONDS; sleep 1; echo $((SECONDS-start))",
    "size=$(stat -c %s file); if (( size > 1024 )); then gzip file; fi",
    "version=$(python3 --version | cut -d' ' -f2); major=${version%%.*}; echo $major",
    "free=$(df -Pk /srv | awk 'NR==2{print $4}'); (( free > 1000000 )) || exit 1",
    "openssl s_client -connect localhost:443 </dev/null 2>/dev/null | openssl x509 -noout -dates",
    "timeout 30 bash -c 'until nc -z localhost 5432; do sleep 1; done'",
    "wget -qO- https://x/health",
    "lsof -i :80 -t | xargs -r kill",
    // maintenance
    "find /var/log -name '*.gz' -mtime +30 -print0 | xargs -0 -r rm -f",
    "journalctl -u app -n 50 --no-pager | grep -i error | tail -5",
    "crontab -l | grep -v backup",
    "echo \"0 3 * * * /srv/backup.sh\" | crontab -",
    "at now + 5 minutes -f /srv/job.sh",
    "ed -s f <<X\n1d\nw\nq\nX",
    "vim -Nu NONE -es -c '%s/a/b/g' -c 'wq' f",
    "sed -i \"s/^version=.*/version=$(date +%s)/\" app.conf",
    "awk -F: '$3 >= 1000 {print $1}' /etc/passwd",
    "jq -r '.items[].name' < f.json",
    "cat <<X > /etc/app.conf\nport = 80\n[main]\nx = $((1+2))\nX",
    "printf '%s\\n' \"a[0]=1\" >> conf",
    // other hosts
    "ssh-keygen -R host",
    "ssh-keyscan -H host >> ~/.ssh/known_hosts",
    "ssh -p 2222 -i ~/.ssh/k user@host 'cd /x && ls'",
    "ssh -A jump ssh inner uptime",
    "ssh -4 -C -q -o ConnectTimeout=3 -o BatchMode=yes host true",
    "scp -P 2222 f user@host:/tmp/",
    "sftp user@host:/srv/f .",
    // the shell itself
    "arr=($(ls /srv)); echo \"${#arr[@]} ${arr[0]}\"",
    "while read -r line; do arr+=(\"$line\"); done < list; echo \"${arr[@]}\"",
    "IFS=. read -r a b c <<< \"1.2.3\"; echo $a",
    "echo \"${PATH//:/ }\" \"${arr[*]:1:2}\"",
    "declare -A m=([a]=1 [b]=2); for k in \"${!m[@]}\"; do echo \"$k=${m[$k]}\"; done",
    "x=5; ((x--)); echo $x; let x++; echo $((x<<2)) $((x%3)) $(( x > 3 ? 1 : 0 ))",
    "a=(x y z); unset 'a[1]'; echo \"${a[@]}\"",
    "i=0; while [ $i -lt 5 ]; do i=$((i + 1)); done",
    "for ((i = 0, j = 5; i < j; i++, j--)); do echo \"$i $j\"; done",
    "a=([0]=1 [1]=2); echo $((a[0]+a[1]))",
    "x=([5]=1); (( x[5] > 0 )) && echo one",
    "python3 - <<'X'\nprint(\"hello\")\nX",
    "ls -la --time-style=+%s [a-c]*",
    "(( $(date +%H) < 6 )) && echo night",
    "if (( (a + b) * 2 > c )); then echo x; fi",
    "((a = b)) || true; ((count++)) || true",
    "(cd /srv && ls); ((1)); (( 0x1F ))",
];

#[test]
fn commands_of_every_day_are_not_refused() {
    let refused: Vec<(&str, String)> = BENIGN
        .iter()
        .filter_map(|text| Some((*text, refused(text)?)))
        .collect();
    assert!(
        refused.is_empty(),
        "{} refused: {refused:#?}",
        refused.len()
    );
}
