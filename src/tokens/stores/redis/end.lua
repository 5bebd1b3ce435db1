-- Ends a session, where it still holds one of these refresh tokens.
--
-- KEYS[1] session     hash, the tokens of a session
-- ARGV[1..] refused   the refresh tokens that are over
--
-- Replies
--   {'written'}          done
--   {'newer', tokens}    the session holds these
--   {'gone'}             there is no such session
assert(#KEYS == 1, 'end: 1 key, and what was refused')
local session = KEYS[1]

local refresh, tokens = unpack(redis.call('HMGET', session, 'refresh', 'tokens'), 1, 2)
if not tokens then
  return {'gone'}
end
for _, refused in ipairs(ARGV) do
  if refused == refresh then
    redis.call('DEL', session)
    return {'written'}
  end
end
return {'newer', tokens}
