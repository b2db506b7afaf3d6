// Files and pipes for tests, on native handles.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "platform/native.h"

namespace pyre::test {

// A new, empty folder; gone with all that is in it when this is.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // UTF-8, as src/platform/file.h wants it.
  [[nodiscard]] std::string file(std::string_view name) const;
  std::string make_file(std::string_view name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

// A file with these bytes, open for reading.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view bytes);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  [[nodiscard]] platform::NativeFile native() const { return file_; }

 private:
  TemporaryFolder folder_;
  platform::NativeFile file_;
};

// A pipe whose reading end this class drains.
class Pipe {
 public:
  Pipe();
  ~Pipe();
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  [[nodiscard]] platform::NativeFile writer() const { return writer_; }
  void close_writer();
  void close_reader();
  // Waits for bytes, at most half a minute (a guard against hanging); then takes what is there. "" at the end.
  std::string read_some();
  // Until `text` is the last part of what came, or the end.
  std::string read_until(std::string_view text);
  std::string read_all();

 private:
  platform::NativeFile reader_;
  platform::NativeFile writer_;
};

// A handle that is none, for tests that only look at it.
[[nodiscard]] platform::NativeFile made_up_file(int number);

// Writes all of it, blocking.
bool write_file(platform::NativeFile file, std::string_view bytes);

}  // namespace pyre::test
