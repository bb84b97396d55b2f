<?php
// What each PHP program does, over a client's `$send(method, path, body, headers)` → [status, body].
const BASE = 'https://spaces.nexudus.com';
ini_set('memory_limit', '-1');

function run(callable $send): void
{
    $form = http_build_query(['grant_type' => 'password', 'username' => getenv('NEXUDUS_EMAIL'), 'password' => getenv('NEXUDUS_PASSWORD')]);
    [, $login] = $send('POST', '/api/token', $form, ['Content-Type' => 'application/x-www-form-urlencoded']);
    $headers = ['Authorization' => 'Bearer ' . json_decode($login)->access_token];
    $counts = [];
    foreach ([1, 2] as $page) {
        [, $list] = $send('GET', "/api/spaces/visitors?page=$page&size=2", null, $headers);
        $counts[] = count(json_decode($list)->Records);
    }
    $json = $headers + ['Content-Type' => 'application/json'];
    [$created, $answer] = $send('POST', '/api/spaces/visitors', '{"FullName": "Grace"}', $json);
    [$deleted] = $send('DELETE', '/api/spaces/visitors/' . json_decode($answer)->Value->Id, null, $headers);
    $binary = $headers + ['Content-Type' => 'application/octet-stream'];
    [, $echo] = $send('PUT', '/api/echo', str_repeat('x', 300000), $binary);
    [, $file] = $send('GET', '/ContentDownload/x?bytes=' . $_SERVER['argv'][1], null, $headers);
    [$error] = $send('GET', '/api/spaces/visitors/999999', null, $headers);
    echo implode(' ', [...$counts, $created, $deleted, json_decode($echo)->body_length, strlen($file), $error]), "\n";
}

function lines(array $headers): array
{
    return array_map(fn ($name) => "$name: $headers[$name]", array_keys($headers));
}
