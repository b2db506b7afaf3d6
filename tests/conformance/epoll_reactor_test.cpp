// The conformance suite against epoll, over TCP and over unix sockets. What only a kernel can show:
// epoll_only_test.cpp.
#include "conformance/native_harness.h"

namespace pyre::platform::test {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Epoll, ReactorConformance,
    testing::Values(HarnessMaker{"tcp", [] { return std::unique_ptr<Harness>(new NativeHarness(false)); }},
                    HarnessMaker{"unix", [] { return std::unique_ptr<Harness>(new NativeHarness(true)); }}),
    harness_name);

}  // namespace
}  // namespace pyre::platform::test
