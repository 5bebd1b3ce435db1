-- Notes the token that a client got. The keys are told in known.lua; mirrors src/admission/known.rs.

-- The filters are 512 KiB each: of 330,000 tokens, three bits each, one stranger in a hundred is taken for known.
local filter_tokens = 330000

-- tag: what the keys begin with. bits: those of the client with its token, as the pod counts them (src/store/redis/roll.rs).
local function note_token(tag, bits)
  local known = tag .. 'known'
  local noted = redis.call('HINCRBY', known, 'noted', '1')
  local filter = tag .. (math.floor(noted / filter_tokens) % 2 == 1 and 'known_tokens:1' or 'known_tokens:0')
  if noted % filter_tokens == 0 then
    redis.call('DEL', filter)
  end
  local one, two, three = string.match(bits, '^(%d+) (%d+) (%d+)$')
  -- BITFIELD would cost half as much again.
  redis.call('SETBIT', filter, one, '1')
  redis.call('SETBIT', filter, two, '1')
  redis.call('SETBIT', filter, three, '1')
  if noted % 64 == 1 or noted % filter_tokens == 0 then
    redis.call('PEXPIRE', known, known_for_ms)
    redis.call('PEXPIRE', filter, known_for_ms)
  end
end
