-- Ends a session at the coordinator (logout): marks the token for one client, so that no flight of that client hands out tokens for
-- it or presents it any more, and tells who waits to look.
--
-- KEYS[1] flight    hash, the record
-- KEYS[2] held      hash, the answer that is held for the token
-- KEYS[3] known     hash, the callers that are known
-- KEYS[4] first, KEYS[5] second   strings, filters of tokens that are known
-- ARGV[1] client    the caller's client with its token: whose session ends
-- ARGV[2] holder    who may be told the answer that is held, '' where the caller is in no chain
-- ARGV[3] standing  'known' when the pod knows the caller, else the name of its credential, '' without one
-- ARGV[4] span_ms   how long the mark stands where something is known of the token or of the caller
-- ARGV[5] short_ms  how long it stands otherwise: anybody can make tokens up
-- ARGV[6] name      the flight's, for the message
-- ARGV[7] channels  the channels of the pods, without the pod
--
-- Replies
--   {'leading'}   a flight of this client is under way, or its leader was lost: what it brings is refused to its callers
--   {'family', id, key, newest, token}  claims of the login come with tokens of their own: the newest one, sealed under the
--                 family's key; the login has ended for all of them
--   {'rotated', fence, attempt, age_ms, sealed, claim}  the token was rotated for this client, and this is the answer
--   {'idle'}      neither, as far as is known here
assert(#KEYS == 5 and #ARGV == 7, 'end: 5 keys, 7 arguments')
local flight, held_key = KEYS[1], KEYS[2]
local client, holder, standing, span_ms, short_ms, name, channels = unpack(ARGV)
span_ms, short_ms = tonumber(span_ms), tonumber(short_ms)
-- So many clients may end the session of one token: more are made up, and the mark that is over first makes way.
local most_marks = 16

local now = read_clock()
local record, held = read_record(flight), {}
if holder ~= '' then
  held = read_hash(held_key)
end
local is_own = record.client == client
local is_holder = held.sealed and held.holder == holder
local concerns = is_holder or record.generation
  or (is_own and record.state and record.token_state ~= 'dead' and record.token_state ~= 'untouched')
if not concerns then
  concerns = is_known({clients = KEYS[3], first = KEYS[4], second = KEYS[5], now = now}, client, standing)
end

local marks = fields_after(record, 'ended:')
local count, oldest = 0, nil
for other, ends in pairs(marks) do
  count = count + 1
  if other ~= record.client and (not oldest or tonumber(ends) < tonumber(marks[oldest])) then
    oldest = other
  end
end
if count >= most_marks and not marks[client] and oldest then
  redis.call('HDEL', flight, 'ended:' .. oldest)
end
local ends = now + (concerns and span_ms or short_ms)
-- Told again, it ends no earlier.
ends = math.max(ends, tonumber(marks[client] or '0'))
local longest = math.max(ends, tonumber(record.ended or '0'))
redis.call('HSET', flight, 'ended:' .. client, whole(ends), 'ended', whole(longest))
keep_at_least(flight, longest - now)

-- Who waits finds the mark, or waits again.
tell_waiting(flight, channels, 'look ' .. name)
local id, member = string.match(record.family or '', '^(%x+) (%x+)$')
if id and member == holder then
  local newest, token = end_claims(flight, id, channels, now, span_ms)
  if token and record.family_key and string.match(newest, '%x+$') ~= name then
    return {'family', id, record.family_key, string.match(newest, '^%d+'), token}
  end
end
-- First what is held: another claim may lead the token that was rotated for this one.
if is_holder then
  return {'rotated', held.fence, held.attempt, passed_ms(held.landed_at, now), held.sealed, held.claim}
end
if is_own and (record.state == 'leading' or record.state == 'lost') then
  return {'leading'}
end
if is_own and record.state == 'landed' and record.token_state == 'rotated' then
  return {'rotated', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed, record.claim}
end
return {'idle'}
