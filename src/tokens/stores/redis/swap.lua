-- Replaces the tokens of a session, where it still holds one of these refresh tokens.
--
-- KEYS[1] session     hash, the tokens of a session
-- ARGV[1] refresh     the new refresh token
-- ARGV[2] expires_ms  when the new access token ends
-- ARGV[3] tokens      the new tokens
-- ARGV[4] ttl_ms      how long the session lives from now on
-- ARGV[5..] walked    the refresh tokens that may be replaced
--
-- Replies
--   {'written'}          done
--   {'newer', tokens}    the session holds these
--   {'gone'}             there is no such session
assert(#KEYS == 1 and #ARGV >= 4, 'swap: 1 key, 4 arguments or more')
local session = KEYS[1]
local refresh, expires_ms, tokens, ttl_ms = unpack(ARGV, 1, 4)

local held = redis.call('HMGET', session, 'refresh', 'expires_ms', 'tokens')
local held_refresh, held_expires_ms, held_tokens = unpack(held, 1, 3)
if not held_tokens then
  return {'gone'}
end
local is_walked = false
for i = 5, #ARGV do
  is_walked = is_walked or ARGV[i] == held_refresh
end
-- A token that is used again is replaced by itself only with an access token that lives longer.
if is_walked and (held_refresh ~= refresh or tonumber(held_expires_ms) < tonumber(expires_ms)) then
  redis.call('HSET', session, 'refresh', refresh, 'expires_ms', expires_ms, 'tokens', tokens)
  redis.call('PEXPIRE', session, ttl_ms)
  return {'written'}
end
return {'newer', held_tokens}
