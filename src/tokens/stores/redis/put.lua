-- Begins a session, or lets it begin anew.
--
-- KEYS[1] session     hash, the tokens of a session
-- ARGV[1] refresh     the refresh token
-- ARGV[2] expires_ms  when the login's own access token ends
-- ARGV[3] tokens      all of them
-- ARGV[4] ttl_ms      how long the session lives from now on
--
-- Replies
--   {'written'}          done
assert(#KEYS == 1 and #ARGV == 4, 'put: 1 key, 4 arguments')
local session = KEYS[1]
local refresh, expires_ms, tokens, ttl_ms = unpack(ARGV)

redis.call('HSET', session, 'refresh', refresh, 'expires_ms', expires_ms, 'tokens', tokens)
redis.call('PEXPIRE', session, ttl_ms)
return {'written'}
