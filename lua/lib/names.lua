-- Names that keys tell, so that no argument has to.

-- The channels of the pods, without the pod.
local function channels_of(fence)
  return string.sub(fence, 1, -#'fence' - 1) .. 'pod:'
end

-- The name of a flight or of a session.
local function name_of(key)
  return string.match(key, '[^:]+$')
end
