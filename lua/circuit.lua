-- Tells the state of the circuit.
--
-- KEYS[1] circuit   hash, whether the provider is left in peace
--
-- Replies
--   {'closed', failures}                    failed flights in a row
--   {'open', left_ms, opened_because}       nobody asks the provider for left_ms
--   {'half_open', probes, opened_because}   so many probes are out
assert(#KEYS == 1 and #ARGV == 0, 'circuit: 1 key, 0 arguments')

local now = read_clock()
local circuit = read_hash(KEYS[1])
if not circuit.state then
  return {'closed', circuit.failures or '0'}
end
if circuit.state == 'open' then
  local left = left_ms(circuit.open_until, now, tonumber(circuit.open_ms))
  if left > 0 then
    return {'open', left, circuit.opened_because}
  end
end
local out = 0
for _, ends in pairs(fields_after(circuit, 'probe:')) do
  out = out + (tonumber(string.match(ends, '^(%d+)') or '0') > now and 1 or 0)
end
return {'half_open', out, circuit.opened_because}
