// The conformance suite against the completion port. What only it can show: iocp_only_test.cpp.
#include "conformance/native_harness.h"

namespace pyre::platform::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Iocp, ReactorConformance,
                         testing::Values(HarnessMaker{
                             "tcp", [] { return std::unique_ptr<Harness>(new NativeHarness(false)); }}),
                         harness_name);

}  // namespace
}  // namespace pyre::platform::test
