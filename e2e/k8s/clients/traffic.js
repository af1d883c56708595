// Asks over a pool, with the certificate authorities that Node read at its start; says how often that
// went well.
const { Pool } = require('pg');
const { PGUSER: user, PGPASSWORD: password, PGHOST: host, PGDATABASE: database } = process.env;
const pool = new Pool({ user, password, host, database, max: 2, connectionTimeoutMillis: 5000, ssl: { rejectUnauthorized: true, servername: host } });
pool.on('error', () => {});
const deadline = Date.now() + 1000 * Number(process.argv[2]);
let done = 0, failed = 0, last = '';
(async () => {
  while (Date.now() < deadline) {
    try {
      last = (await pool.query('select ssn from customers where id = $1', [1])).rows[0].ssn;
      done++;
    } catch (error) {
      last = 'failed ' + error.message;
      failed++;
    }
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  console.log(`done ${done} failed ${failed} last ${last}`);
  process.exit(0);
})();
