<?php
// A program with PHP's own streams, which know no proxy.
require __DIR__ . '/session.php';

run(function ($method, $path, $body, $headers) {
    $http = ['method' => $method, 'header' => lines($headers), 'ignore_errors' => true, 'content' => $body ?? ''];
    $answer = file_get_contents(BASE . $path, false, stream_context_create(['http' => $http]));
    return [(int) explode(' ', $http_response_header[0])[1], $answer];
});
