-- Keeps the register of living pods: writes a pod's entry, unless a living pod does not agree with it, and takes it away
-- when the pod ends. A pod that does not agree leaves no trace.
--
-- KEYS[1] meta   hash, the register
-- ARGV[1] pod    the caller's pod
-- ARGV[2] act    'stay': the pod lives, and its entry is written anew; 'leave': the pod ends, and its entry with it
-- ARGV[3] entry  what the pod goes by, in words: protocols, pepper, provider, refresh_tokens, lease, uncertain,
--                its other settings
--
-- Replies
--   {'agreed', longest_lease_ms, uncertain, pod, entry, ...}   the pod is in the register. The longest lease of all living
--                                     pods; 'never' if one of them goes by it, else 'retry'; and of those that go by other
--                                     words one pod for each entry, 10 at most
--   {'differs', what, theirs, pod}    protocols, pepper, provider or refresh_tokens of this living pod; pod is '' for
--                                     pods of protocol 1
--   {'left'}                          the pod is not in the register any more
assert(#KEYS == 1 and #ARGV == 3, 'meta: 1 key, 3 arguments')
local meta, pod, act, entry = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

-- Pods of protocol 1 know of no register: they look for the field `protocol`, and write 1 where it is missing. They
-- refuse to start where it says this.
local not_for_protocol_1 = '2'
local most_others = 10

local now = read_clock()
local living, over = read_register(meta, now)
local protocol = redis.call('HGET', meta, 'protocol')

if act == 'leave' then
  local is_last = true
  for _, other in ipairs(living) do
    is_last = is_last and other.pod == pod
  end
  redis.call('HDEL', meta, 'pod:' .. pod)
  if is_last and protocol == not_for_protocol_1 then
    redis.call('DEL', meta)
  end
  return {'left'}
end

local ours = words_of(entry)

-- What must agree. A pod that does not name its provider agrees with every pod.
local function difference(theirs)
  local own_lowest, own_highest = string.match(ours.protocols, '^(%d+)-(%d+)$')
  local lowest, highest = string.match(theirs.protocols or '', '^(%d+)-(%d+)$')
  if not lowest or tonumber(lowest) > tonumber(own_highest) or tonumber(highest) < tonumber(own_lowest) then
    return 'protocols'
  elseif theirs.pepper ~= ours.pepper then
    return 'pepper'
  elseif ours.provider ~= '-' and (theirs.provider or '-') ~= '-' and theirs.provider ~= ours.provider then
    return 'provider'
  elseif (theirs.refresh_tokens or 'single-use') ~= (ours.refresh_tokens or 'single-use') then
    return 'refresh_tokens'
  end
end

local refusal
if protocol and protocol ~= not_for_protocol_1 then
  refusal = {'differs', 'protocols', protocol, ''}
end
local longest, uncertain, last_end = lease_of(ours), ours.uncertain, now + entry_ms + lease_of(ours)
local own_end, others, told, ahead = last_end, {}, {[entry] = true}, {}
for _, other in ipairs(living) do
  if other.pod ~= pod then
    local latest = now + entry_ms + lease_of(other.words)
    if other.ends > latest then
      -- The clock was set back: a pod that is gone would count as living for as long.
      other.ends, ahead[#ahead + 1] = latest, other
    end
    local what = not refusal and difference(other.words)
    if what then
      refusal = {'differs', what, other.words[what] or '?', other.pod}
    end
    longest = math.max(longest, lease_of(other.words))
    uncertain = other.words.uncertain == 'never' and 'never' or uncertain
    last_end = math.max(last_end, other.ends)
    if not told[other.entry] and #others < 2 * most_others then
      told[other.entry] = true
      others[#others + 1] = other.pod
      others[#others + 1] = other.entry
    end
  end
end

-- From here on it is written.
for _, field in ipairs(over) do
  redis.call('HDEL', meta, field)
end
for _, other in ipairs(ahead) do
  redis.call('HSET', meta, 'pod:' .. other.pod, 'ends=' .. whole(other.ends) .. ' ' .. other.entry)
end
if refusal then
  return refusal
end
redis.call('HSET', meta, 'protocol', not_for_protocol_1, 'pod:' .. pod, 'ends=' .. whole(own_end) .. ' ' .. entry)
redis.call('PEXPIRE', meta, whole(last_end - now))
return {'agreed', longest, uncertain, unpack(others)}
