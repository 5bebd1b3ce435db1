-- The register of living pods: `pod:<pod>` in `meta` holds `ends=<ms>` and what the pod goes by, in words. A pod writes
-- its entry again once a minute. Mirrors src/store/redis/calls/meta.rs.

-- How long an entry stands beyond its pod's lease: a pod may miss two of its minutes.
local entry_ms = 3 * 60 * 1000
-- The longest lease that a pod can have (src/config.rs).
local longest_possible_ms = 10 * 60 * 1000

-- The words of an entry, by name.
local function words_of(entry)
  local words = {}
  for name, value in string.gmatch(entry, '([^%s=]+)=(%S+)') do
    words[name] = value
  end
  return words
end

local function lease_of(words)
  return math.max(0, math.min(longest_possible_ms, tonumber(words.lease) or 0))
end

-- The entries of living pods, and the fields of entries that are over or that no pod can have written.
local function read_register(meta, now)
  local flat, living, over, read = redis.call('HGETALL', meta), {}, {}, {}
  for i = 1, #flat, 2 do
    local pod = string.match(flat[i], '^pod:(.+)$')
    if pod then
      local ends, entry = string.match(flat[i + 1], '^ends=(%d+) (.+)$')
      if ends and tonumber(ends) > now then
        -- Mostly all pods go by the same words.
        read[entry] = read[entry] or words_of(entry)
        living[#living + 1] = {pod = pod, ends = tonumber(ends), entry = entry, words = read[entry]}
      else
        over[#over + 1] = flat[i]
      end
    end
  end
  return living, over
end

-- The longest lease of a living pod, the caller's included.
local function longest_lease_ms(meta, now, own_ms)
  local longest = own_ms
  for _, other in ipairs((read_register(meta, now))) do
    longest = math.max(longest, lease_of(other.words))
  end
  return longest
end
