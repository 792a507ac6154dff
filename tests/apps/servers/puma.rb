# As `puma --config puma.rb` takes it.
threads 2, 4
app do |env|
  body = "hello from puma\n"
  if env["PATH_INFO"] == "/inside"
    own = TCPServer.new("localhost", 0)
    body = %w[localhost 127.0.0.1 ::1].map do |host|
      TCPSocket.new(host, host == "localhost" ? own.addr[1] : ENV["PORT"]).close
      "#{host} connected"
    rescue SystemCallError => error
      "#{host} #{error.class}"
    end.join("\n") + "\n"
    own.close
  end
  [200, { "content-length" => body.bytesize.to_s }, [body]]
end
