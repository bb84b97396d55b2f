<?php
// A program with Guzzle.
require __DIR__ . '/session.php';
require '/usr/share/php/GuzzleHttp/autoload.php';

$client = new GuzzleHttp\Client(['http_errors' => false]);

run(function ($method, $path, $body, $headers) use ($client) {
    $answer = $client->request($method, BASE . $path, ['headers' => $headers, 'body' => $body]);
    return [$answer->getStatusCode(), (string) $answer->getBody()];
});
