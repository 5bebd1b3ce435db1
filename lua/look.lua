-- Looks whether the flights a pod waits for still have the leaders that it joined. One call for all of them.
--
-- KEYS[i] lock     string, the owner: the leader
-- ARGV[i] joined   the fence that was joined there
--
-- Replies an array, for each flight
--   remaining ms of the lease      the same leader, alive
--   'changed'                      not any more: begin again
assert(#KEYS > 0 and #KEYS == #ARGV, 'look: as many arguments as keys')

local reply = redis.call('MGET', unpack(KEYS))
for i, owner in ipairs(reply) do
  if owner and string.match(owner, '/(%d+)/%d+$') == ARGV[i] then
    reply[i] = tostring(redis.call('PTTL', KEYS[i]))
  else
    reply[i] = 'changed'
  end
end
return reply
