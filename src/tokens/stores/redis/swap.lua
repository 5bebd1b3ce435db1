-- Replaces the tokens of a session, where it still holds one of these refresh tokens, and nobody has written since it was read.
--
-- KEYS[1] session     hash, the tokens of a session
-- ARGV[1] refresh     the new refresh token
-- ARGV[2] expires_ms  when the login's own access token ends: releases before this one compare it
-- ARGV[3] tokens      the new tokens
-- ARGV[4] ttl_ms      how long the session lives from now on
-- ARGV[5] writes      how often the session was written, this time included
-- ARGV[6..] walked    the refresh tokens that may be replaced
--
-- Replies
--   {'written'}          done
--   {'newer', tokens}    the session holds these
--   {'gone'}             there is no such session
assert(#KEYS == 1 and #ARGV >= 5, 'swap: 1 key, 5 arguments or more')
local session = KEYS[1]
local refresh, expires_ms, tokens, ttl_ms, writes = unpack(ARGV, 1, 5)

local held_refresh, held_tokens = unpack(redis.call('HMGET', session, 'refresh', 'tokens'), 1, 2)
if not held_tokens then
  return {'gone'}
end
local is_walked = false
for i = 6, #ARGV do
  is_walked = is_walked or ARGV[i] == held_refresh
end
-- It stands in the tokens themselves: releases before this one write them without it, and would leave a field of its own as it was.
if is_walked and (cjson.decode(held_tokens).writes or 0) + 1 == tonumber(writes) then
  redis.call('HSET', session, 'refresh', refresh, 'expires_ms', expires_ms, 'tokens', tokens)
  redis.call('PEXPIRE', session, ttl_ms)
  return {'written'}
end
return {'newer', held_tokens}
