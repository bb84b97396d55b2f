// What each Java program does, over a client.
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Session {
    static final String BASE = "https://spaces.nexudus.com";

    record Answer(int status, byte[] body) {
        String find(String pattern) {
            Matcher found = Pattern.compile(pattern).matcher(new String(body));
            if (!found.find()) throw new IllegalStateException(new String(body));
            return found.group(1);
        }

        long count(String text) {
            return Pattern.compile(text, Pattern.LITERAL).matcher(new String(body)).results().count();
        }
    }

    interface Client {
        Answer ask(String method, String path, byte[] body, String... headers) throws Exception;
    }

    static void run(Client client, String bytes) throws Exception {
        String form = "grant_type=password&username=" + System.getenv("NEXUDUS_EMAIL") + "&password=" + System.getenv("NEXUDUS_PASSWORD");
        String token = client.ask("POST", "/api/token", form.getBytes(), "Content-Type", "application/x-www-form-urlencoded")
            .find("\"access_token\":\"([^\"]*)\"");
        String bearer = "Bearer " + token;
        StringBuilder line = new StringBuilder();
        for (int page = 1; page <= 2; page++) {
            line.append(client.ask("GET", "/api/spaces/visitors?page=" + page + "&size=2", null, "Authorization", bearer).count("\"FullName\"")).append(' ');
        }
        Answer created = client.ask("POST", "/api/spaces/visitors", "{\"FullName\": \"Grace\"}".getBytes(), "Authorization", bearer, "Content-Type", "application/json");
        line.append(created.status()).append(' ');
        String number = created.find("\"Id\":([0-9]+)");
        line.append(client.ask("DELETE", "/api/spaces/visitors/" + number, null, "Authorization", bearer).status()).append(' ');
        line.append(client.ask("PUT", "/api/echo", "x".repeat(300_000).getBytes(), "Authorization", bearer).find("\"body_length\":([0-9]+)")).append(' ');
        line.append(client.ask("GET", "/ContentDownload/x?bytes=" + bytes, null, "Authorization", bearer).body().length).append(' ');
        line.append(client.ask("GET", "/api/spaces/visitors/999999", null, "Authorization", bearer).status());
        System.out.println(line);
    }
}
