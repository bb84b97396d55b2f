// A program with java.net.http.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class WithHttpClient {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        Session.run((method, path, body, headers) -> {
            var publisher = body == null ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(body);
            var request = HttpRequest.newBuilder(URI.create(Session.BASE + path)).method(method, publisher).headers(headers).build();
            var answer = client.send(request, BodyHandlers.ofByteArray());
            return new Session.Answer(answer.statusCode(), answer.body());
        }, args[0]);
    }
}
