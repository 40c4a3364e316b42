-- Sends the requests of a file, a line each (path, tab, body), over and over. benchmarks/load/wrk.py starts it.
-- They are formatted beforehand and no answer is looked at in here, so that wrk costs the same whoever is measured.

local lines, turn = {}, -2 -- wrk asks for one request in advance and throws it away

function init()
  local key = os.getenv("REPLAY_AUTHORIZATION")
  if key ~= "" then wrk.headers["Authorization"] = key end
  for line in io.lines(os.getenv("REPLAY_FILE")) do
    local path, body = line:match("^(%S+)\t(.*)$")
    wrk.headers["Content-Type"] = body ~= "" and "application/json" or nil
    lines[#lines + 1] = wrk.format("POST", path, nil, body ~= "" and body or nil)
  end
end

function request()
  turn = turn + 1
  return lines[math.max(turn, 0) % #lines + 1]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'REPLAY {"answers": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
