-- What complete.lua does last: what has come free goes to the next of the queue. Names the keys and arguments of that script as
-- it does.

local function done(reply)
  if unanswered == 1 then
    redis.call('HSET', flight, 'abandoned:' .. attempt, now)
    -- PARTS HERE: keep
    keep_at_least(flight, lease_ms)
  end
  if has_circuit and circuit_now['probe:' .. own_fence] then
    -- A leader is done, and its outcome said nothing.
    redis.call('HDEL', circuit, 'probe:' .. own_fence)
  end
  if not is_quiet then
    -- PARTS HERE: hash names spans keep in_use permits lines freed budget
    pcall(settle, {permits = permits, counter = in_use_key, queue = queue, limit = limit, lease_ms = lease_ms,
      called_ms = called_ms, channels = channels_of(tag), now = now})
  end
  return reply
end
