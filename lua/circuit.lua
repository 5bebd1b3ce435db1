-- Tells the state of the circuit.
--
-- KEYS[1] circuit   hash, whether the provider is left in peace
-- ARGV[1] lease_ms  how long a probe lasts unless it is renewed
--
-- Replies
--   {'closed', failures}       failed flights in a row
--   {'open', left_ms, why}     nobody asks the provider for left_ms
--   {'half_open', probes, why} so many probes are out
assert(#KEYS == 1 and #ARGV == 1, 'circuit: 1 key, 1 argument')
local lease_ms = tonumber(ARGV[1])

local now = read_clock()
local circuit = read_hash(KEYS[1])
if not circuit.state then
  return {'closed', circuit.failures or '0'}
end
if circuit.state == 'open' then
  local left = left_ms(circuit.open_until, now, tonumber(circuit.open_ms))
  if left > 0 then
    return {'open', left, circuit.why}
  end
end
local out = 0
for _, ends in pairs(fields_after(circuit, 'probe:')) do
  out = out + (left_ms(ends, now, lease_ms) > 0 and 1 or 0)
end
return {'half_open', out, circuit.why}
