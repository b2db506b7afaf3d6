#include "platform/reactor.h"

#if defined(__linux__)
#include "platform/linux/epoll_reactor.h"
#else
#error "no reactor backend for this system yet"
#endif

namespace pyre::platform {

Expected<std::unique_ptr<Reactor>> make_reactor(BufferSource& buffers, const ReactorOptions& options) noexcept {
  return EpollReactor::make(buffers, options);
}

}  // namespace pyre::platform
