// What a program does with Java's own client: all kinds of calls. Java offers HTTP/2 (h2c) with each
// first request of a connection.

import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpClient.Redirect;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.concurrent.CompletableFuture;

public class WithHttpClient {
  static String base;

  public static void main(String[] arguments) throws Exception {
    base = arguments[0];
    var client = HttpClient.newBuilder().followRedirects(Redirect.NORMAL).build();

    var grant = "grant_type=password&username=me&password=" + URLEncoder.encode("of no use", StandardCharsets.UTF_8);
    var form = request("/api/token", "POST", BodyPublishers.ofString(grant));
    var login = client.send(form.header("Content-Type", "application/x-www-form-urlencoded").build(), BodyHandlers.ofString());
    check(login.statusCode() == 200 && login.body().contains("\"access_token\""), login);
    var token = login.body().replaceAll(".*\"access_token\":\"([^\"]*)\".*", "$1");

    for (int nth = 0; nth < 20; nth++) {
      var me = client.send(get("/api/auth/me").header("Authorization", "Bearer " + token).build(), BodyHandlers.ofString());
      check(me.statusCode() == 200 && me.body().contains("ada@example.test"), me);
      check(me.version() == HttpClient.Version.HTTP_1_1, me);
    }

    var json = request("/api/echo", "POST", BodyPublishers.ofString("{\"name\":\"Zoë\"}"));
    var echo = client.send(json.header("Content-Type", "application/json").build(), BodyHandlers.ofString());
    check(echo.body().contains("{\\\"name\\\":\\\"Zoë\\\"}"), echo);
    var gone = client.send(request("/api/echo", "DELETE", BodyPublishers.ofString("why")).build(), BodyHandlers.ofString());
    check(gone.body().contains("\"method\":\"DELETE\"") && gone.body().contains("\"why\""), gone);
    var head = client.send(request("/ContentDownload/x?bytes=1234", "HEAD", BodyPublishers.noBody()).build(), BodyHandlers.ofString());
    check(head.headers().firstValue("content-length").orElse("").equals("1234") && head.body().isEmpty(), head);

    var body = new byte[3_000_000];
    Arrays.fill(body, (byte) 'x');
    var ofLength = BodyPublishers.ofByteArray(body);
    // Of no known length: it goes up in chunks.
    var chunked = BodyPublishers.fromPublisher(BodyPublishers.ofByteArray(body));
    for (BodyPublisher publisher : new BodyPublisher[] {ofLength, chunked}) {
      for (boolean waits : new boolean[] {false, true}) {
        var put = client.send(request("/api/echo", "PUT", publisher).expectContinue(waits).build(), BodyHandlers.ofString());
        check(put.body().contains("\"body_length\":3000000"), put);
      }
    }

    var download = client.send(get("/ContentDownload/x?bytes=8000000").build(), BodyHandlers.ofByteArray());
    var seen = MessageDigest.getInstance("SHA-256").digest(download.body());
    check(HexFormat.of().formatHex(seen).equals(arguments[1]), download);

    var moved = client.send(get("/moved").build(), BodyHandlers.ofString());
    check(moved.body().contains("ada@example.test") && moved.uri().toString().startsWith(base), moved);
    var missing = client.send(get("/api/auth/nothing").build(), BodyHandlers.ofString());
    check(missing.statusCode() == 404, missing);

    var asked = new ArrayList<CompletableFuture<HttpResponse<String>>>();
    for (int nth = 0; nth < 30; nth++) {
      asked.add(client.sendAsync(get("/api/auth/me").build(), BodyHandlers.ofString()));
    }
    for (var one : asked) {
      check(one.join().statusCode() == 200, one.join());
    }
  }

  static HttpRequest.Builder get(String path) {
    return request(path, "GET", BodyPublishers.noBody());
  }

  static HttpRequest.Builder request(String path, String method, BodyPublisher body) {
    return HttpRequest.newBuilder(URI.create(base + path)).method(method, body);
  }

  static void check(boolean holds, HttpResponse<?> response) {
    if (!holds) {
      throw new AssertionError(response + "\n" + response.headers().map() + "\n" + response.body());
    }
  }
}
