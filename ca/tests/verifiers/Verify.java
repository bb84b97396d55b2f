// Asks Java's trust manager, which knows two purposes.
import java.io.FileInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

class Verify {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        KeyStore anchors = KeyStore.getInstance(KeyStore.getDefaultType());
        anchors.load(null, null);
        anchors.setCertificateEntry("root", read(folder.resolve("root.pem")).get(0));
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(anchors);
        X509TrustManager manager = (X509TrustManager) factory.getTrustManagers()[0];
        for (String line : Files.readAllLines(folder.resolve("cases"))) {
            String file = line.split(" ")[0];
            List<X509Certificate> chain = new ArrayList<>(read(folder.resolve(file + ".pem")));
            chain.addAll(read(folder.resolve(file + ".above.pem")));
            X509Certificate[] certificates = chain.toArray(new X509Certificate[0]);
            try {
                manager.checkServerTrusted(certificates, "ECDHE_ECDSA");
                System.out.println(file + " server accepted");
            } catch (CertificateException error) {
                System.out.println(file + " server refused " + error.getMessage());
            }
            try {
                manager.checkClientTrusted(certificates, "EC");
                System.out.println(file + " client accepted");
            } catch (CertificateException error) {
                System.out.println(file + " client refused " + error.getMessage());
            }
        }
    }

    static List<X509Certificate> read(Path path) throws Exception {
        List<X509Certificate> read = new ArrayList<>();
        try (InputStream stream = new FileInputStream(path.toFile())) {
            for (Certificate it : CertificateFactory.getInstance("X.509").generateCertificates(stream)) {
                read.add((X509Certificate) it);
            }
        }
        return read;
    }
}
