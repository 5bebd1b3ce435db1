-- The pods that wait for a flight: a hash of its own, pod -> attempt. Beside the record, whose fields are longer than Redis packs, each
-- of them would cost twice as much.
local function waits_of(flight)
  return (string.gsub(flight, 'flight:(%w+)$', 'waits:%1'))
end

-- Tells these pods, once, and forgets that they wait.
--
-- Last of all that is written, and by pcall: a channel that the ACL forbids must not undo what was decided.
-- The channels are in the slot of the keys, but not among them: the waiting pods are known only here.
local function tell_pods(waits, pods, channels, message)
  if pods[1] then
    redis.call('DEL', waits)
  end
  for _, pod in ipairs(pods) do
    redis.pcall('PUBLISH', channels .. pod, message)
  end
end

-- Tells every pod that waits.
local function tell_waiting(flight, channels, message)
  local waits = waits_of(flight)
  tell_pods(waits, redis.pcall('HKEYS', waits), channels, message)
end
