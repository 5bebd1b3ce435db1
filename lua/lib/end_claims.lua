-- A logout ends the session of all claims of a login; the keys are told in family.lua. Comes after keep.lua, login.lua and
-- end_family.lua. Returns the newest place with its flight, and the newest token, sealed; nil where nothing of it is known.
local function end_claims(flight, id, channels, now, span_ms)
  local root = root_of(flight)
  local family = root .. 'family:' .. id
  redis.call('HSET', family, 'ended', whole(now + span_ms))
  keep_at_least(family, span_ms)
  call_all(root .. 'order:' .. id, channels)
  return unpack(redis.call('HMGET', family, 'newest', 'newest_token'))
end
