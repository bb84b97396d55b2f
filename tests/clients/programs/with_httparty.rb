# A program with HTTParty.
require 'httparty'
require_relative 'session'

run do |method, path, body, headers|
  given = { headers: headers, format: :plain }
  given[:body] = body if body
  answer = HTTParty.send(method.downcase, BASE + path, given)
  [answer.code, answer.body]
end
