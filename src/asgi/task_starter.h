// TaskStarter: runs the first step of a request's coroutine at once, inside a real asyncio.Task, without a trip through
// call_soon.
//
// Python 3.12+: asyncio.Task(..., eager_start=True). Python 3.11: the loop's call_soon is overridden, on the instance
// and only while the Task is constructed, by a function that keeps the step; the step runs after the constructor
// returned. Likewise the registration in asyncio's WeakSet of all tasks, two Python calls per task, is done by us with
// the same effect. Either way there is no current task around it, so current_task(), cancel(), asyncio.timeout(), anyio
// and sniffio are right inside. A loop with a task factory, or in debug mode, gets loop.create_task() unchanged.
#pragma once

#include <cstdint>

#include "asgi/http_cycle.h"
#include "asgi/python_api.h"

namespace pyre::asgi {

class TaskStarter {
 public:
  // False with an exception set. Takes the base context: a copy of the caller's.
  [[nodiscard]] bool init(PyObject* loop) noexcept;
  // Makes the task and, where it can, runs its first step. cycle->task is set if it is still running afterwards. False
  // with an exception set if there is no task.
  [[nodiscard]] bool start(HttpCycle* cycle) noexcept;
  // Asks the loop again whether it has a task factory or is in debug mode: now and then, not for each request.
  [[nodiscard]] bool refresh() noexcept;

 private:
  [[nodiscard]] PyRef start_captured(HttpCycle* cycle, PyObject* context) noexcept;  // 3.11
  [[nodiscard]] PyRef construct_captured(HttpCycle* cycle, PyRef& step) noexcept;
  // Enters a task into asyncio's set of all tasks. The entry, or null: it could not (then nothing is set).
  [[nodiscard]] PyRef register_task(PyObject* task) noexcept;
  [[nodiscard]] PyRef start_plain(HttpCycle* cycle, PyObject* context) noexcept;

  PyRef loop_;
  PyRef task_type_;
  PyRef base_context_;
  PyRef keywords_;       // {"loop": loop, "context": ..., ...}
  PyRef loop_dict_;      // the loop's instance dict (3.11)
  PyRef registry_dict_;  // asyncio's WeakSet of all tasks: its instance dict, its set of weak references, and their
                         // callback (3.11)
  PyRef registry_data_;
  PyRef registry_remove_;
  PyRef task_name_;
  bool plain_ = false;
};

[[nodiscard]] bool init_task_starter_types();

}  // namespace pyre::asgi
