-- Who is known: whom the provider has given tokens. Only what befalls known callers moves the circuit. Mirrors
-- src/admission/known.rs.
--
-- known           hash: noted (how many tokens were noted), client:<credential> -> until when a client is known by it.
--                 While it is not there nobody is known, and so everybody is
-- known_tokens:0, known_tokens:1   strings, the clients with the tokens of their last successes: filters of bits. One
--                 is filled, the other holds those before; whichever is full begins the other anew
--
-- known: clients, first, second (keys), now
local function known_keys(tag, now)
  return {clients = tag .. 'known', first = tag .. 'known_tokens:0', second = tag .. 'known_tokens:1', now = now}
end

-- So many bits has a filter.
local filter_bits = 4194304

-- The bits of a client with its token, by its name, which is a hash. Mirrors src/store/redis/roll.rs.
local function bits_of(client)
  local bits = {}
  for i = 0, 2 do
    bits[i + 1] = (tonumber(string.sub(client, 6 * i + 1, 6 * i + 6), 16) or 0) % filter_bits
  end
  return bits
end

local function has_all(filter, bits)
  for _, bit in ipairs(bits) do
    if redis.call('GETBIT', filter, bit) == 0 then
      return false
    end
  end
  return true
end

-- Whether a caller is known. standing: 'known' where its pod knows it, else the name of its credential, '' without one.
local function is_known(known, client, standing)
  if standing == 'known' or redis.call('EXISTS', known.clients) == 0 then
    return true
  end
  if standing ~= '' and tonumber(redis.call('HGET', known.clients, 'client:' .. standing) or '0') > known.now then
    return true
  end
  local bits = bits_of(client)
  return has_all(known.first, bits) or has_all(known.second, bits)
end
