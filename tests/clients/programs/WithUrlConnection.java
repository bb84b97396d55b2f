// A program with HttpURLConnection.
import java.net.HttpURLConnection;
import java.net.URL;

public class WithUrlConnection {
    public static void main(String[] args) throws Exception {
        Session.run((method, path, body, headers) -> {
            var connection = (HttpURLConnection) new URL(Session.BASE + path).openConnection();
            connection.setRequestMethod(method);
            for (int at = 0; at < headers.length; at += 2) connection.setRequestProperty(headers[at], headers[at + 1]);
            if (body != null) {
                connection.setDoOutput(true);
                connection.getOutputStream().write(body);
            }
            int status = connection.getResponseCode();
            try (var stream = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
                return new Session.Answer(status, stream == null ? new byte[0] : stream.readAllBytes());
            }
        }, args[0]);
    }
}
