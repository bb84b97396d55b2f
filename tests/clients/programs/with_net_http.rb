# A program with Ruby's own client.
require 'net/http'
require_relative 'session'

run do |method, path, body, headers|
  uri = URI(BASE + path)
  answer = Net::HTTP.start(uri.host, uri.port, use_ssl: true) do |http|
    http.send_request(method, uri.request_uri, body, headers)
  end
  [answer.code.to_i, answer.body]
end
