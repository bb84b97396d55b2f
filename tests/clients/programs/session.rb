# What each Ruby program does, over a client's `ask(method, path, body, headers)` → [status, body].
require 'json'
require 'uri'

BASE = 'https://spaces.nexudus.com'

def run
  form = URI.encode_www_form(grant_type: 'password', username: ENV['NEXUDUS_EMAIL'], password: ENV['NEXUDUS_PASSWORD'])
  _, login = yield('POST', '/api/token', form, { 'Content-Type' => 'application/x-www-form-urlencoded' })
  headers = { 'Authorization' => "Bearer #{JSON.parse(login)['access_token']}" }
  counts = [1, 2].map do |page|
    JSON.parse(yield('GET', "/api/spaces/visitors?page=#{page}&size=2", nil, headers)[1])['Records'].size
  end
  json = headers.merge('Content-Type' => 'application/json')
  created, answer = yield('POST', '/api/spaces/visitors', '{"FullName": "Grace"}', json)
  deleted, = yield('DELETE', "/api/spaces/visitors/#{JSON.parse(answer)['Value']['Id']}", nil, headers)
  binary = headers.merge('Content-Type' => 'application/octet-stream')
  _, echo = yield('PUT', '/api/echo', 'x' * 300_000, binary)
  _, file = yield('GET', "/ContentDownload/x?bytes=#{ARGV[0]}", nil, headers)
  error, = yield('GET', '/api/spaces/visitors/999999', nil, headers)
  puts [*counts, created, deleted, JSON.parse(echo)['body_length'], file.bytesize, error].join(' ')
end
