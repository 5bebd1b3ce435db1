#!lua flags=allow-oom
-- Removes keys of a namespace in which no pod lives any more. Whether one lives is judged in the same step: what a living pod has
-- written is not removed. Sent again and again, with some keys each.
--
-- Stands alone, as inspect.lua does.
--
-- KEYS[1] meta     hash, the register of living pods
-- KEYS[2...]       keys that are to be removed; meta may be among them, fence and incarnation are not
-- ARGV[1] fleet    the channel on which every pod of the namespace listens
--
-- Replies {word, removed, living, listeners}: how many keys were removed, how many pods stand in the register as living, how many
-- connections listen for the namespace. An error where nobody may be asked who listens.
--   'in use'     a pod lives, or somebody listens; nothing was removed
--   'free'       no pod lives; the keys are removed
assert(#KEYS >= 1 and #ARGV == 1, 'forget: 1 key at least, 1 argument')
local meta, fleet = KEYS[1], ARGV[1]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local living, register = 0, redis.call('HGETALL', meta)
for i = 1, #register, 2 do
  local ends = string.match(register[i], '^pod:') and string.match(register[i + 1], '^ends=(%d+) ')
  if ends and tonumber(ends) > now then
    living = living + 1
  end
end

-- It changes nothing: pods know the word.
local listeners = redis.call('PUBLISH', fleet, 'anybody')
if living > 0 or listeners > 0 then
  return {'in use', 0, living, listeners}
end

local removed = 0
for i = 2, #KEYS do
  removed = removed + redis.call('UNLINK', KEYS[i])
end
return {'free', removed, living, listeners}
