import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** The scenario with pgjdbc, in simple and extended mode. Prints a canonical transcript. */
public class Scenario {
    interface Action { void run() throws Exception; }

    static void show(String title, Object... values) {
        StringBuilder line = new StringBuilder(title + ":");
        for (Object v : values) line.append(' ').append(v);
        System.out.println(line);
    }

    static void failing(String title, Action action) throws Exception {
        try {
            action.run();
            show(title, "no error");
        } catch (PSQLException e) {
            ServerErrorMessage m = e.getServerErrorMessage();
            if (m == null) { show(title, e.getSQLState()); return; }
            show(title, m.getSeverity(), m.getSQLState(), m.getMessage(), m.getDetail(), m.getHint(), m.getPosition(), m.getWhere(),
                m.getSchema(), m.getTable(), m.getConstraint(), m.getFile(), m.getRoutine());
        } catch (SQLException e) {
            show(title, e.getClass().getSimpleName(), e.getSQLState());
        }
    }

    static Connection connect(String... more) throws SQLException {
        Map<String, String> env = System.getenv();
        Properties p = new Properties();
        p.setProperty("user", env.get("PGUSER"));
        p.setProperty("password", env.get("PGPASSWORD"));
        p.setProperty("sslmode", env.getOrDefault("PGSSLMODE", "disable"));
        if (env.containsKey("PGSSLROOTCERT")) p.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
        if (env.containsKey("PGCHANNELBINDING")) p.setProperty("channelBinding", env.get("PGCHANNELBINDING"));
        for (int i = 0; i < more.length; i += 2) p.setProperty(more[i], more[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE"), p);
    }

    static String hex(MessageDigest d) {
        StringBuilder s = new StringBuilder();
        for (byte b : d.digest()) s.append(String.format("%02x", b));
        return s.toString();
    }

    static void rows(ResultSet r) throws SQLException {
        ResultSetMetaData m = r.getMetaData();
        for (int i = 1; i <= m.getColumnCount(); i++)
            show("column", m.getColumnName(i), m.getColumnTypeName(i), m.getTableName(i), m.getPrecision(i), m.getScale(i), m.isNullable(i));
        while (r.next()) {
            StringBuilder line = new StringBuilder();
            for (int i = 1; i <= m.getColumnCount(); i++) line.append(m.getColumnTypeName(i).equals("bytea") ? HexFormat.of().formatHex(r.getBytes(i)) : r.getString(i)).append('|');
            show("row", line);
        }
    }

    static void basics(Connection c) throws Exception {
        DatabaseMetaData d = c.getMetaData();
        show("server", d.getDatabaseProductVersion(), c.unwrap(PGConnection.class).getParameterStatuses());
        try (PreparedStatement s = c.prepareStatement("SELECT * FROM items WHERE id BETWEEN ? AND ? ORDER BY id")) {
            s.unwrap(org.postgresql.PGStatement.class).setPrepareThreshold(2);
            for (int[] pair : new int[][] {{1, 3}, {7, 14}, {1, 2}, {3, 4}, {2000, 2001}}) {
                s.setInt(1, pair[0]);
                s.setInt(2, pair[1]);
                try (ResultSet r = s.executeQuery()) { rows(r); }
            }
        }
        try (Statement s = c.createStatement()) {
            failing("syntax", () -> s.execute("SELEC 1"));
            failing("column", () -> s.execute("SELECT nosuch FROM items"));
            s.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 42 USING HINT = 'h', DETAIL = 'd'; END $$");
            show("warning", s.getWarnings());
            boolean more = s.execute("SELECT 1; SELECT 2, 3; UPDATE ledger SET amount = 1; SELECT 4 WHERE false");
            while (more || s.getUpdateCount() != -1) {
                if (more) rows(s.getResultSet()); else show("count", s.getUpdateCount());
                more = s.getMoreResults();
            }
        }
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.executeUpdate("INSERT INTO ledger VALUES (1, 10)");
            failing("in transaction", () -> s.execute("SELECT 1/0"));
            failing("aborted", () -> s.execute("SELECT 1"));
            c.rollback();
            Savepoint p = c.setSavepoint();
            failing("constraint", () -> s.execute("INSERT INTO ledger VALUES (2, -1)"));
            c.rollback(p);
            rows(s.executeQuery("SELECT count(*) FROM ledger"));
            c.commit();
        }
        try (PreparedStatement s = c.prepareStatement("INSERT INTO ledger VALUES (?, ?) RETURNING id", Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 100; i < 150; i++) { s.setInt(1, i); s.setInt(2, i); s.addBatch(); }
            show("batch", Arrays.toString(s.executeBatch()));
        }
        failing("bad batch", () -> {
            try (PreparedStatement s = c.prepareStatement("INSERT INTO ledger VALUES (?, ?)")) {
                for (int i : new int[] {200, 100, 201}) { s.setInt(1, i); s.setInt(2, 1); s.addBatch(); }
                s.executeBatch();
            }
        });
        c.rollback();
        c.setAutoCommit(true);
    }

    static void copies(Connection c) throws Exception {
        CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
        for (String options : new String[] {"", "(FORMAT csv)", "(FORMAT binary)"}) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            long n = copy.copyOut("COPY (SELECT * FROM items ORDER BY id) TO STDOUT " + options, out);
            MessageDigest d = MessageDigest.getInstance("SHA-256");
            d.update(out.toByteArray());
            show("copy out", options, n, hex(d));
        }
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 50000; i++) text.append(i).append("\tline ").append(i).append(" ä\n");
        try (Statement s = c.createStatement()) {
            s.execute("TRUNCATE inbox");
            show("copy in", copy.copyIn("COPY inbox FROM STDIN", new ByteArrayInputStream(text.toString().getBytes(StandardCharsets.UTF_8))));
            rows(s.executeQuery("SELECT count(*), md5(string_agg(body, ',' ORDER BY id)) FROM inbox"));
            failing("copy bad row", () -> copy.copyIn("COPY inbox FROM STDIN", new ByteArrayInputStream("1000000\tfine\nx\tbad\n".getBytes())));
            rows(s.executeQuery("SELECT count(*) FROM inbox"));
        }
    }

    static void cancels(Connection c) throws Exception {
        for (String sql : new String[] {"SELECT pg_sleep(30)", "SELECT g, pg_sleep(0.001) FROM generate_series(1,100000) g"}) {
            try (Statement s = c.createStatement()) {
                new Thread(() -> { try { Thread.sleep(500); s.cancel(); } catch (Exception e) { show("cancel", e); } }).start();
                long start = System.nanoTime();
                failing("cancel", () -> s.execute(sql));
                show("quick", System.nanoTime() - start < 5_000_000_000L);
            }
        }
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            failing("timeout", () -> s.execute("SELECT pg_sleep(30)"));
            rows(s.executeQuery("SELECT 'alive'"));
        }
    }

    static void notifications(Connection c) throws Exception {
        PGConnection pg = c.unwrap(PGConnection.class);
        try (Statement s = c.createStatement(); Connection other = connect(); Statement o = other.createStatement()) {
            s.execute("LISTEN news");
            o.execute("NOTIFY news, 'from another'");
            for (PGNotification n : pg.getNotifications(5000))
                show("notification", n.getName(), n.getParameter(), n.getPID() == other.unwrap(PGConnection.class).getBackendPID());
        }
    }

    static void cursor(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("SELECT g, md5(g::text), g::numeric / 7 FROM generate_series(1, ?) g")) {
            s.setFetchSize(777);
            s.setInt(1, 100000);
            MessageDigest d = MessageDigest.getInstance("SHA-256");
            int n = 0;
            try (ResultSet r = s.executeQuery()) {
                while (r.next()) {
                    n++;
                    d.update((r.getInt(1) + r.getString(2) + r.getBigDecimal(3)).getBytes());
                }
            }
            show("cursor", n, hex(d));
        }
        c.commit();
        c.setAutoCommit(true);
    }

    public static void main(String[] args) throws Exception {
        for (String mode : new String[] {"extended", "extendedForPrepared", "extendedCacheEverything", "simple"}) {
            show("== mode", mode);
            try (Connection c = connect("preferQueryMode", mode, "binaryTransfer", "true")) {
                basics(c);
                copies(c);
                notifications(c);
                cursor(c);
                if (mode.equals("extended")) cancels(c);
            }
        }
        try (Connection victim = connect(); Connection killer = connect("options", "-c work_mem=9MB"); Statement k = killer.createStatement()) {
            rows(k.executeQuery("SHOW work_mem"));
            k.execute("SELECT pg_terminate_backend(" + victim.unwrap(PGConnection.class).getBackendPID() + ")");
            Thread.sleep(200);
            failing("terminated", () -> victim.createStatement().execute("SELECT 1"));
        }
        failing("wrong database", () -> {
            Properties p = new Properties();
            Map<String, String> env = System.getenv();
            p.setProperty("user", env.get("PGUSER"));
            p.setProperty("password", env.get("PGPASSWORD"));
            p.setProperty("sslmode", env.getOrDefault("PGSSLMODE", "disable"));
            if (env.containsKey("PGSSLROOTCERT")) p.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
            if (env.containsKey("PGCHANNELBINDING")) p.setProperty("channelBinding", env.get("PGCHANNELBINDING"));
            DriverManager.getConnection("jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/nosuch", p);
        });
    }
}
