#include "support/files.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#endif

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "platform/file.h"

namespace pyre::test {
namespace {

constexpr std::chrono::seconds kHangGuard{30};

void require(bool done, const char* what) {
  if (done) return;
  std::perror(what);
  std::abort();
}

std::string utf8(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

#ifdef _WIN32

void close_end(platform::NativeFile& file) {
  if (file != platform::no_file) ::CloseHandle(file);
  file = platform::no_file;
}

#else

void close_end(platform::NativeFile& file) {
  if (file != platform::no_file) ::close(file);
  file = platform::no_file;
}

#endif

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::random_device random;
  do {
    path_ = std::filesystem::temp_directory_path() / ("pyre_test_" + std::to_string(random()));
  } while (!std::filesystem::create_directory(path_));
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::file(std::string_view name) const {
  return utf8(path_ / std::u8string(name.begin(), name.end()));
}

std::string TemporaryFolder::make_file(std::string_view name, std::string_view bytes) const {
  std::ofstream stream(path_ / std::u8string(name.begin(), name.end()), std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  require(static_cast<bool>(stream.flush()), "a temporary file");
  return file(name);
}

TemporaryFile::TemporaryFile(std::string_view bytes) : file_(platform::no_file) {
  auto opened = platform::open_file(folder_.make_file("file", bytes).c_str());
  require(opened.has_value(), "open_file");
  file_ = opened.value();
}

TemporaryFile::~TemporaryFile() { platform::close_file(file_); }

Pipe::Pipe() : reader_(platform::no_file), writer_(platform::no_file) {
#ifdef _WIN32
  require(::CreatePipe(&reader_, &writer_, nullptr, 64 * 1024) != 0, "CreatePipe");
#else
  int ends[2];
  require(::pipe2(ends, O_CLOEXEC) == 0, "pipe2");
  reader_ = ends[0];
  writer_ = ends[1];
#endif
}

Pipe::~Pipe() {
  close_reader();
  close_writer();
}

void Pipe::close_writer() { close_end(writer_); }
void Pipe::close_reader() { close_end(reader_); }

std::string Pipe::read_some() {
  std::string out(65536, '\0');
#ifdef _WIN32
  const auto give_up = std::chrono::steady_clock::now() + kHangGuard;
  DWORD there = 0;
  for (;;) {
    if (::PeekNamedPipe(reader_, nullptr, 0, nullptr, &there, nullptr) == 0) return {};
    if (there > 0) break;
    if (std::chrono::steady_clock::now() > give_up) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  DWORD count = 0;
  if (::ReadFile(reader_, out.data(), static_cast<DWORD>(out.size()), &count, nullptr) == 0) return {};
  out.resize(count);
#else
  pollfd ready{reader_, POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(kHangGuard).count())) != 1) return {};
  const ssize_t count = ::read(reader_, out.data(), out.size());
  out.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
#endif
  return out;
}

std::string Pipe::read_until(std::string_view text) {
  std::string out;
  while (!out.ends_with(text)) {
    const std::string more = read_some();
    if (more.empty()) break;
    out += more;
  }
  return out;
}

std::string Pipe::read_all() {
  std::string out;
  for (std::string more = read_some(); !more.empty(); more = read_some()) out += more;
  return out;
}

platform::NativeFile made_up_file(int number) {
#ifdef _WIN32
  return reinterpret_cast<platform::NativeFile>(static_cast<std::uintptr_t>(number));
#else
  return number;
#endif
}

bool write_file(platform::NativeFile file, std::string_view bytes) {
  while (!bytes.empty()) {
#ifdef _WIN32
    DWORD count = 0;
    if (::WriteFile(file, bytes.data(), static_cast<DWORD>(bytes.size()), &count, nullptr) == 0) return false;
#else
    const ssize_t count = ::write(file, bytes.data(), bytes.size());
    if (count < 0) return false;
#endif
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

}  // namespace pyre::test
