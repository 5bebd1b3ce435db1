-- Notes the token that a client got. The keys are told in known.lua; mirrors src/admission/known.rs.

-- The filters are 512 KiB each: of 400,000 tokens, four bits each, one stranger in a hundred is taken for known.
local filter_tokens = 400000

-- known, first, second: keys. bits: those of the client with its token, as the pod counts them (src/store/redis/roll.rs).
local function note_token(known, first, second, bits)
  local noted = redis.call('HINCRBY', known, 'noted', '1')
  local filter = math.floor(noted / filter_tokens) % 2 == 1 and second or first
  if noted % filter_tokens == 0 then
    redis.call('DEL', filter)
  end
  local one, two, three, four = string.match(bits, '^(%d+) (%d+) (%d+) (%d+)$')
  redis.call('BITFIELD', filter, 'SET', 'u1', one, '1', 'SET', 'u1', two, '1', 'SET', 'u1', three, '1', 'SET', 'u1', four, '1')
  if noted % 64 == 1 or noted % filter_tokens == 0 then
    redis.call('PEXPIRE', known, known_for_ms)
    redis.call('PEXPIRE', filter, known_for_ms)
  end
end
