-- ARGV: me, fence of the lease, whether the lease is kept, fence of the intent that ends or empty.
local me, lease, keeps, ends = unpack(ARGV)
if ends ~= '' then
  redis.call('HDEL', INTENTS, ends)
end
if not holds(me, lease) then
  return { 'lost' }
end
if keeps ~= '1' then
  redis.call('DEL', LEASE)
end
return { 'done' }
