// Clients of Java: JSch, Apache MINA SSHD and sshj, each with the same script. The host's key must be one that
// known_hosts has. Prints what it saw.
//
//   Clients LIBRARY PORT USER KNOWN_HOSTS KEY|- LOCAL REMOTE SERVICE-PORT

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Collections;
import java.util.EnumSet;
import java.util.HexFormat;

interface Client extends AutoCloseable {
    /** Output, errors and exit status of a command. */
    String exec(String command, String input) throws Exception;

    void put(String local, String remote) throws Exception;

    void get(String remote, String local) throws Exception;

    String list(String directory) throws Exception;

    void move(String from, String to) throws Exception;

    void remove(String path) throws Exception;

    /** The port of this machine that leads to a port of the host's loopback. */
    int forward(int port) throws Exception;
}

public class Clients {
    public static void main(String[] args) throws Exception {
        String library = args[0], local = args[5], remote = args[6];
        String key = args[4].equals("-") ? null : args[4];
        try (Client client = open(library, Integer.parseInt(args[1]), args[2], args[3], key)) {
            System.out.println(client.exec("echo out; echo err >&2; exit 7", null));
            System.out.println(client.exec("cat; wc -c < /etc/hostname", "some input\n"));
            System.out.println(digest(client.exec("head -c 3000000 /dev/zero | tr '\\0' x", null).getBytes()));
            client.put(local, remote);
            client.move(remote, remote + ".moved");
            System.out.println(client.list(remote.substring(0, remote.lastIndexOf('/'))).contains(Paths.get(remote).getFileName() + ".moved"));
            client.get(remote + ".moved", local + ".back");
            System.out.println(digest(Files.readAllBytes(Path.of(local + ".back"))));
            client.remove(remote + ".moved");
            try {
                client.get(remote + ".moved", local + ".none");
                System.out.println("it is still there");
            } catch (IOException | com.jcraft.jsch.SftpException gone) {
                System.out.println("gone");
            }
            try {
                int port = client.forward(Integer.parseInt(args[7]));
                try (Socket s = new Socket("127.0.0.1", port)) {
                    s.setSoTimeout(5000);
                    System.out.println(new String(s.getInputStream().readNBytes(5), StandardCharsets.US_ASCII));
                }
            } catch (IOException refused) {
                System.out.println("refused");
            }
            System.out.println(client.exec("echo still here", null));
        }
        try (Client stranger = open(library, Integer.parseInt(args[1]), args[2], "/dev/null", key)) {
            System.out.println("a host that is not known was believed");
        } catch (Exception unknown) {
            System.out.println("a host that is not known is refused");
        }
        System.exit(0);
    }

    static Client open(String library, int port, String user, String known, String key) throws Exception {
        return switch (library) {
            case "jsch" -> new Jsch(port, user, known, key);
            case "mina" -> new Mina(port, user, known, key);
            default -> new Sshj(port, user, known, key);
        };
    }

    static String digest(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    static String told(byte[] out, byte[] err, Object status) {
        return new String(out) + "|" + new String(err) + "|" + status;
    }
}

class Jsch implements Client {
    private final com.jcraft.jsch.Session session;
    private final com.jcraft.jsch.ChannelSftp sftp;

    Jsch(int port, String user, String known, String key) throws Exception {
        com.jcraft.jsch.JSch jsch = new com.jcraft.jsch.JSch();
        jsch.setKnownHosts(known);
        if (key != null) jsch.addIdentity(key);
        session = jsch.getSession(user, "127.0.0.1", port);
        session.setConfig("StrictHostKeyChecking", "yes");
        session.connect(20000);
        sftp = (com.jcraft.jsch.ChannelSftp) session.openChannel("sftp");
        sftp.connect(20000);
    }

    public String exec(String command, String input) throws Exception {
        com.jcraft.jsch.ChannelExec channel = (com.jcraft.jsch.ChannelExec) session.openChannel("exec");
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        channel.setCommand(command);
        channel.setErrStream(err);
        if (input != null) channel.setInputStream(new java.io.ByteArrayInputStream(input.getBytes()));
        InputStream out = channel.getInputStream();
        channel.connect(20000);
        byte[] bytes = out.readAllBytes();
        while (!channel.isClosed()) Thread.sleep(10);
        channel.disconnect();
        return Clients.told(bytes, err.toByteArray(), channel.getExitStatus());
    }

    public void put(String local, String remote) throws Exception { sftp.put(local, remote); }

    public void get(String remote, String local) throws Exception { sftp.get(remote, local); }

    public String list(String directory) throws Exception { return sftp.ls(directory).toString(); }

    public void move(String from, String to) throws Exception { sftp.rename(from, to); }

    public void remove(String path) throws Exception { sftp.rm(path); }

    public int forward(int port) throws Exception { return session.setPortForwardingL(0, "127.0.0.1", port); }

    public void close() { session.disconnect(); }
}

class Mina implements Client {
    private final org.apache.sshd.client.SshClient client = org.apache.sshd.client.SshClient.setUpDefaultClient();
    private final org.apache.sshd.client.session.ClientSession session;
    private final org.apache.sshd.sftp.client.SftpClient sftp;

    Mina(int port, String user, String known, String key) throws Exception {
        client.setServerKeyVerifier(new org.apache.sshd.client.keyverifier.KnownHostsServerKeyVerifier(
            org.apache.sshd.client.keyverifier.RejectAllServerKeyVerifier.INSTANCE, Path.of(known)));
        client.setKeyIdentityProvider(org.apache.sshd.common.keyprovider.KeyIdentityProvider.EMPTY_KEYS_PROVIDER);
        client.start();
        session = client.connect(user, "127.0.0.1", port).verify(Duration.ofSeconds(20)).getSession();
        if (key != null) {
            var keys = new org.apache.sshd.common.keyprovider.FileKeyPairProvider(Path.of(key));
            session.addPublicKeyIdentity(keys.loadKeys(session).iterator().next());
        }
        session.auth().verify(Duration.ofSeconds(20));
        sftp = org.apache.sshd.sftp.client.SftpClientFactory.instance().createSftpClient(session);
    }

    public String exec(String command, String input) throws Exception {
        try (var channel = session.createExecChannel(command)) {
            ByteArrayOutputStream out = new ByteArrayOutputStream(), err = new ByteArrayOutputStream();
            channel.setIn(new java.io.ByteArrayInputStream(input == null ? new byte[0] : input.getBytes()));
            channel.setOut(out);
            channel.setErr(err);
            channel.open().verify(Duration.ofSeconds(20));
            channel.waitFor(EnumSet.of(org.apache.sshd.client.channel.ClientChannelEvent.CLOSED), Duration.ofSeconds(30));
            return Clients.told(out.toByteArray(), err.toByteArray(), channel.getExitStatus());
        }
    }

    public void put(String local, String remote) throws Exception {
        try (OutputStream out = sftp.write(remote)) { Files.copy(Path.of(local), out); }
    }

    public void get(String remote, String local) throws Exception {
        try (InputStream in = sftp.read(remote)) { Files.write(Path.of(local), in.readAllBytes()); }
    }

    public String list(String directory) throws Exception {
        StringBuilder names = new StringBuilder();
        for (var entry : sftp.readDir(directory)) names.append(entry.getFilename()).append(' ');
        return names.toString();
    }

    public void move(String from, String to) throws Exception { sftp.rename(from, to); }

    public void remove(String path) throws Exception { sftp.remove(path); }

    public int forward(int port) throws Exception {
        var none = new org.apache.sshd.common.util.net.SshdSocketAddress("127.0.0.1", 0);
        var to = new org.apache.sshd.common.util.net.SshdSocketAddress("127.0.0.1", port);
        return session.startLocalPortForwarding(none, to).getPort();
    }

    public void close() { client.stop(); }
}

class Sshj implements Client {
    private final net.schmizz.sshj.SSHClient client = new net.schmizz.sshj.SSHClient();
    private final net.schmizz.sshj.sftp.SFTPClient sftp;

    Sshj(int port, String user, String known, String key) throws Exception {
        client.addHostKeyVerifier(new net.schmizz.sshj.transport.verification.OpenSSHKnownHosts(new File(known)));
        client.connect("127.0.0.1", port);
        if (key != null) client.authPublickey(user, key);
        else client.auth(user, new net.schmizz.sshj.userauth.method.AuthNone());
        sftp = client.newSFTPClient();
    }

    public String exec(String command, String input) throws Exception {
        try (var session = client.startSession()) {
            var running = session.exec(command);
            if (input != null) running.getOutputStream().write(input.getBytes());
            running.getOutputStream().close();
            byte[] out = running.getInputStream().readAllBytes(), err = running.getErrorStream().readAllBytes();
            running.join();
            return Clients.told(out, err, running.getExitStatus());
        }
    }

    public void put(String local, String remote) throws Exception { sftp.put(local, remote); }

    public void get(String remote, String local) throws Exception { sftp.get(remote, local); }

    public String list(String directory) throws Exception { return sftp.ls(directory).toString(); }

    public void move(String from, String to) throws Exception { sftp.rename(from, to); }

    public void remove(String path) throws Exception { sftp.rm(path); }

    public int forward(int port) throws Exception {
        ServerSocket socket = new ServerSocket(0, 5, java.net.InetAddress.getLoopbackAddress());
        var parameters = new net.schmizz.sshj.connection.channel.direct.Parameters(
            "127.0.0.1", socket.getLocalPort(), "127.0.0.1", port);
        Thread listens = new Thread(() -> {
            try {
                client.newLocalPortForwarder(parameters, socket).listen();
            } catch (IOException ended) {
                // The client has gone.
            }
        });
        listens.setDaemon(true);
        listens.start();
        return socket.getLocalPort();
    }

    public void close() throws Exception { client.disconnect(); }
}
