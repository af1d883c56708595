import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;

/** Asks over one connection, made again when it breaks; says how often that went well. */
public class Traffic {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv("PGUSER"));
        properties.setProperty("password", System.getenv("PGPASSWORD"));
        properties.setProperty("sslmode", "verify-full");
        // The JVM's own trust: nothing here names a file.
        properties.setProperty("sslfactory", "org.postgresql.ssl.DefaultJavaSSLFactory");
        properties.setProperty("connectTimeout", "5");
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + "/" + System.getenv("PGDATABASE");
        long deadline = System.currentTimeMillis() + 1000L * Integer.parseInt(args[0]);
        int done = 0, failed = 0;
        String last = "";
        Connection connection = null;
        while (System.currentTimeMillis() < deadline) {
            try {
                if (connection == null) {
                    connection = DriverManager.getConnection(url, properties);
                }
                try (var statement = connection.prepareStatement("select ssn from customers where id = ?")) {
                    statement.setInt(1, 1);
                    var rows = statement.executeQuery();
                    rows.next();
                    last = rows.getString(1);
                    done++;
                }
            } catch (SQLException error) {
                last = "failed " + error.getMessage();
                failed++;
                connection = null;
            }
            Thread.sleep(50);
        }
        System.out.println("done " + done + " failed " + failed + " last " + last);
    }
}
