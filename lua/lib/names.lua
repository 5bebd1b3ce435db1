-- Names that keys tell, so that no argument has to.

-- The channels of the pods, without the pod.
local function channels_of(tag)
  return tag .. 'pod:'
end

-- The name of a flight or of a session, which has letters and digits only. A pattern that each of them could begin would be tried
-- from all of them.
local function name_of(key)
  return string.match(key, ':(%w+)$')
end
